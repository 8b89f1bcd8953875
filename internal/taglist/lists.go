package taglist

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxListingBytes is the memory that all listings may take, some 500,000 tags. The
	// longest list makes room: the short ones of everybody else are worth more.
	maxListingBytes = 64 << 20
	maxListings     = 1000
	// maxListingsOfScope is how many walks through one list may be under way.
	maxListingsOfScope = 64
)

// ErrDropped is for a client in the middle of a listing that is not remembered any more.
var ErrDropped = &oci.Error{
	Code: oci.CodeUnavailable, Status: 503, RetryAfter: time.Second,
	Message: "the tag list had to make room for others meanwhile",
}

// Lists are the tag lists that are remembered: those that clients are in, and the
// last whole one of each scope, which serves while the upstream is down. The zero
// value is empty. Safe for concurrent use.
type Lists struct {
	mu      sync.Mutex
	byScope map[oci.Scope][]*List // of each, the oldest first
	count   int
	bytes   int
}

// Put remembers a listing that has its first page.
func (s *Lists) Put(l *List, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byScope == nil {
		s.byScope = map[oci.Scope][]*List{}
	}
	l.used = now
	s.byScope[l.scope] = append(s.byScope[l.scope], l)
	s.count++
	s.tidy(l.scope, now)
	if s.count > maxListings {
		s.dropFirst(func(a, b *List) int { return a.used.Compare(b.used) })
	}
}

// tidy drops listings of a scope that nobody is in any more, but never the last whole
// one; s.mu is held.
func (s *Lists) tidy(scope oci.Scope, now time.Time) {
	all := slices.Clone(s.byScope[scope])
	whole := lastWhole(all)
	slices.SortStableFunc(all, func(a, b *List) int { return a.used.Compare(b.used) })
	for i, l := range all {
		if l != whole && (len(all)-i > maxListingsOfScope || !oci.Within(now.Sub(l.used), handedFor)) {
			s.drop(l)
		}
	}
}

// Settle accounts for the memory of a listing that somebody is in, and makes room. It
// is an error if the listing is not remembered any more.
func (s *Lists) Settle(l *List, now time.Time) error {
	n := l.takeGrown()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.dropped {
		return ErrDropped
	}
	l.used = now
	l.bytes += n
	s.bytes += n
	for s.bytes > maxListingBytes {
		s.dropFirst(func(a, b *List) int { return cmp.Compare(b.bytes, a.bytes) })
	}
	if l.dropped {
		return oci.UpstreamError(oci.ClassLength, "",
			fmt.Sprintf("the tag list is longer than the %d MiB that all lists may take here", maxListingBytes>>20), nil)
	}
	return nil
}

// dropFirst drops the listing that is the first in an order; s.mu is held.
func (s *Lists) dropFirst(order func(a, b *List) int) {
	var first *List
	for _, all := range s.byScope {
		for _, l := range all {
			if first == nil || order(l, first) < 0 {
				first = l
			}
		}
	}
	s.drop(first)
}

// drop forgets a listing; s.mu is held.
func (s *Lists) drop(l *List) {
	if l == nil || l.dropped {
		return
	}
	l.dropped = true
	s.count--
	s.bytes -= l.bytes
	rest := slices.DeleteFunc(s.byScope[l.scope], func(other *List) bool { return other == l })
	if s.byScope[l.scope] = rest; len(rest) == 0 {
		delete(s.byScope, l.scope)
	}
}

// Forget is for a listing that cannot go on.
func (s *Lists) Forget(l *List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(l)
}

// Find returns the listing in which a client goes on after a tag; nil = there is none.
func (s *Lists) Find(scope oci.Scope, last string, now time.Time) *List {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.byScope[scope]
	var found *List
	for _, l := range slices.Backward(all) {
		if l.Continues(last, now) {
			found = l
			break
		}
	}
	if found == nil {
		found = newest(all, now)
	}
	if found != nil {
		found.used = now
	}
	return found
}

// PageFor returns a page of a listing that has come in another one since it was begun:
// who is in it sees nothing older than what it was begun with. nil = there is none.
func (s *Lists) PageFor(l *List, at oci.TagsCursor) *Page {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range slices.Backward(s.byScope[l.scope]) {
		if p := other.pageAt(at, l.begun); p != nil {
			return p
		}
	}
	return nil
}

// Join returns the listing that others of a scope are in; nil = there is none.
func (s *Lists) Join(scope oci.Scope, now time.Time) *List {
	s.mu.Lock()
	defer s.mu.Unlock()
	return newest(s.byScope[scope], now)
}

func newest(all []*List, now time.Time) *List {
	if n := len(all); n > 0 && all[n-1].young(now) {
		return all[n-1]
	}
	return nil
}

// Whole returns the last listing of a scope that has all pages; nil = there is none.
func (s *Lists) Whole(scope oci.Scope) *List {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lastWhole(s.byScope[scope])
}

func lastWhole(all []*List) *List {
	for _, l := range slices.Backward(all) {
		if _, more := l.State(); !more {
			return l
		}
	}
	return nil
}
