// Package taglist holds upstreams' tag lists in memory, for clients that page through
// them.
package taglist

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxIdlePages is how many pages in a row may bring no new tag.
	maxIdlePages = 16
	// maxTags is the greatest page for a client that does not say how many tags it wants.
	maxTags = 100_000
	// What a tag, a cursor and a place cost in memory beside their text.
	tagCost, cursorCost, placeCost = 100, 250, 60
	// handedFor is how long a place in a listing that a client was sent to is kept for it.
	handedFor = 5 * time.Minute
)

// List is an upstream's tag list of one scope, as one walk from its first page on
// brings it: page by page as clients come to need them. Clients go on in it by the
// place of the tag that they had last, in whatever order the tags are. Tags are only
// ever added to it. Safe for concurrent use.
type List struct {
	scope oci.Scope
	begun time.Time

	mu sync.Mutex
	// tags are in the upstream's order, each of them once; places tell where.
	tags   []string
	places map[string]int32
	// handed is when a client was last sent on to what follows a place.
	handed map[int32]time.Time
	// next leads to the page that was not fetched yet; whole = there is none.
	next  oci.TagsCursor
	whole bool
	// visited are the pages that were led to; nil = one that was not fetched yet.
	visited map[oci.TagsCursor]*Page
	// idle counts the last pages that brought no new tag; one of those was blank.
	idle  int
	blank bool
	// fetched is when the last page came.
	fetched time.Time
	// cause is why it serves in place of a newer one; nil = it does not.
	cause error
	// grown is the memory that was not accounted for yet.
	grown int

	account
}

// account is what Lists knows of a list. Lists.mu guards it.
type account struct {
	used    time.Time
	bytes   int
	dropped bool
}

// Page is a page of the upstream as it came, and when it was asked for.
type Page struct {
	Part  oci.TagsPart
	Asked time.Time
}

// New returns the list of a scope whose first page was asked for at a time.
func New(scope oci.Scope, now time.Time) *List {
	return &List{
		scope: scope, begun: now, places: map[string]int32{}, handed: map[int32]time.Time{},
		visited: map[oci.TagsCursor]*Page{},
	}
}

// Add takes in the page at a cursor, unless somebody else has. It is an error if the
// upstream leads in a circle.
func (l *List) Add(at oci.TagsCursor, page *Page, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole || l.next != at {
		return nil
	}
	before, part := len(l.tags), page.Part
	l.visited[at] = page
	_, again := l.visited[part.Next]
	for _, tag := range part.Tags {
		if _, known := l.places[tag]; known {
			continue
		}
		l.places[tag] = int32(len(l.tags))
		l.tags = append(l.tags, tag)
		l.grown += len(tag) + tagCost
	}
	l.fetched = now
	l.idle++
	l.blank = l.blank || len(part.Tags) == 0
	if len(l.tags) > before {
		l.idle, l.blank = 0, false
	}
	switch {
	case part.Next == oci.TagsCursor{}, again && l.blank:
		// A page without tags is the end, also where it leads back into the list.
		l.next, l.whole = oci.TagsCursor{}, true
	case again:
		return circle("the upstream's pages of tags lead back to an earlier one")
	case l.idle > maxIdlePages:
		return circle(fmt.Sprintf("%d pages of the upstream's tag list in a row bring no new tag", l.idle))
	default:
		l.next, l.visited[part.Next] = part.Next, nil
		l.grown += len(part.Next.Query) + cursorCost
	}
	return nil
}

func circle(text string) error { return oci.UpstreamError(oci.ClassNotRegistry, "", text, nil) }

// pageAt returns the page at a cursor if it was asked for after a time.
func (l *List) pageAt(at oci.TagsCursor, after time.Time) *Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.visited[at]; p != nil && p.Asked.After(after) {
		return p
	}
	return nil
}

// Page returns the tags that are known of a page. done says that these are all that it
// is to have.
func (l *List) Page(p oci.TagsPage) (list oci.TagList, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, known := l.after(p.Last)
	if !known {
		return oci.TagList{}, false
	}
	rest, n := l.tags[from:], p.N
	if n < 0 {
		n = maxTags
	}
	if len(rest) > n {
		return oci.TagList{Tags: rest[:n:n], More: n > 0}, true
	}
	list = oci.TagList{Tags: slices.Clip(rest), More: !l.whole && len(rest) > 0}
	return list, l.whole || len(rest) == n || p.N < 0 && len(rest) > 0
}

// after returns the place behind a tag. That of a tag which the whole list does not
// have is before the first greater one: in a list without order that may be too early,
// so that some tags come twice, but none is left out. l.mu is held.
func (l *List) after(last string) (place int, known bool) {
	if last == "" {
		return 0, true
	}
	if i, ok := l.places[last]; ok {
		return int(i) + 1, true
	}
	if !l.whole {
		return 0, false
	}
	for i, tag := range l.tags {
		if tag > last {
			return i, true
		}
	}
	return len(l.tags), true
}

// HandOut notes that a client is sent on to what follows a page.
func (l *List) HandOut(list oci.TagList, now time.Time) {
	if !list.More {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	place := l.places[list.Tags[len(list.Tags)-1]]
	if _, again := l.handed[place]; !again {
		l.grown += placeCost
	}
	l.handed[place] = now
}

// Continues reports whether a client was sent on to what follows a tag not long ago.
func (l *List) Continues(last string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	place, known := l.places[last]
	when, handed := l.handed[place]
	return known && handed && oci.Within(now.Sub(when), handedFor)
}

// State returns what leads to the next page. more is false if none follows.
func (l *List) State() (next oci.TagsCursor, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next, !l.whole
}

// ServesFor notes why the listing serves in place of a newer one.
func (l *List) ServesFor(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cause = cause
}

// ServedFor returns what ServesFor was told.
func (l *List) ServedFor() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// takeGrown returns the memory that was not accounted for yet.
func (l *List) takeGrown() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.grown
	l.grown = 0
	return n
}

// young reports whether somebody who comes with a tag that no client was sent on from
// may join: a walk that others have just brought forward is not begun anew.
func (l *List) young(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	age := time.Minute
	if l.whole {
		age = 10 * time.Second
	}
	return l.cause == nil && oci.Within(now.Sub(l.fetched), age)
}

// Begun is when the first page was asked for.
func (l *List) Begun() time.Time { return l.begun }
