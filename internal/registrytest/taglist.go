package registrytest

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// TagList is how a profile lists tags.
type TagList struct {
	// Order is SortedTags, if it is zero.
	Order Order
	// Ignored are n and last: everything comes at once.
	Ignored bool
	// Page is how many come if nobody says how many; 0 = all. Max is the most that
	// come, whatever n is; 0 = any number. Fixed takes no notice of n at all.
	Page, Max int
	Fixed     bool
	// Link is the header that leads to the next page: {last} and {n} are what it
	// ends with and the size of the page, {lastraw} is not escaped. "" = none.
	Link string
	// Full sends Link with each full page, Always with each that has a tag at all.
	Full, Always bool
	// Member is one more member of the document, such as `,"child":[]`.
	Member string
	// Null is what an empty list is called.
	Null bool
	// LastGone answers if last is no tag.
	LastGone Reply
}

// Order is that of a list.
type Order int

// The orders.
const (
	SortedTags   Order = iota
	OldestFirst        // as they were put
	ShuffledTags       // in any, but always the same one
)

func (t *TagList) serve(v *visit) {
	tags := v.repo.names()
	switch t.Order {
	case SortedTags:
		slices.Sort(tags)
	case ShuffledTags:
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	}
	query := v.r.URL.Query()
	page := tags
	if !t.Ignored {
		var gone bool
		if tags, gone = t.after(tags, query.Get("last")); gone && t.LastGone.Status != 0 {
			v.reply(t.LastGone)
			return
		}
		n := t.size(query, len(tags))
		more := n < len(tags)
		page = tags[:min(n, len(tags))]
		if n > 0 && len(page) > 0 && t.Link != "" && (more || t.Full && n == len(page) || t.Always) {
			last := page[len(page)-1]
			v.w.Header().Set("Link", strings.NewReplacer(
				"{last}", url.QueryEscape(last), "{lastraw}", last, "{n}", strconv.Itoa(n),
			).Replace(v.expand(t.Link)))
		}
	}
	if page == nil && !t.Null {
		page = []string{}
	}
	list, _ := json.Marshal(page)
	v.reply(Reply{Status: http.StatusOK, Body: `{"name":"{name}","tags":` + string(list) + t.Member + "}\n"})
}

// size returns how many tags a page may have.
func (t *TagList) size(query url.Values, all int) int {
	n := t.Page
	if asked, err := strconv.Atoi(query.Get("n")); err == nil && asked >= 0 && !t.Fixed {
		n = asked
	} else if n == 0 {
		n = max(all, 1)
	}
	if t.Max > 0 {
		n = min(n, t.Max)
	}
	return n
}

// after returns the tags after one of them, which may be gone.
func (t *TagList) after(tags []string, last string) (rest []string, gone bool) {
	if last == "" {
		return tags, false
	}
	if i := slices.Index(tags, last); i >= 0 {
		return tags[i+1:], false
	}
	if t.Order != SortedTags {
		return tags, true
	}
	i, _ := slices.BinarySearch(tags, last)
	return tags[i:], true
}
