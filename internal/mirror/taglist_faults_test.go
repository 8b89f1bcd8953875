package mirror_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tagsPage writes a page as a registry does.
func tagsPage(w http.ResponseWriter, next string, tags ...string) bool {
	if next != "" {
		w.Header().Set("Link", `</v2/x/tags/list?`+next+`>; rel="next"`)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": "x", "tags": tags})
	return true
}

// A list that does not come to an end is an error before it is a list, and what leads
// back after an empty page is the end.
func TestListsThatLeadNowhere(t *testing.T) {
	t.Parallel()
	at := func(r *http.Request) (n int) {
		n, _ = strconv.Atoi(r.URL.Query().Get("p"))
		return n
	}
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		want   string // "" = an error
		asked  int    // at most
	}{
		"the same query again": {func(w http.ResponseWriter, r *http.Request) bool { return tagsPage(w, "p=1", "a", "b") }, "", 2},
		"a circle": {func(w http.ResponseWriter, r *http.Request) bool {
			return tagsPage(w, fmt.Sprint("p=", (at(r)+1)%3), "a")
		}, "", 4},
		"a circle of new tags": {func(w http.ResponseWriter, r *http.Request) bool {
			return tagsPage(w, fmt.Sprint("p=", (at(r)+1)%3), fmt.Sprint("t", at(r)))
		}, "", 4},
		"no new tag for ever":  {func(w http.ResponseWriter, r *http.Request) bool { return tagsPage(w, fmt.Sprint("p=", at(r)+1), "a") }, "", 20},
		"empty pages for ever": {func(w http.ResponseWriter, r *http.Request) bool { return tagsPage(w, fmt.Sprint("p=", at(r)+1)) }, "", 20},
		"invalid tags for ever": {func(w http.ResponseWriter, r *http.Request) bool {
			return tagsPage(w, fmt.Sprint("p=", at(r)+1), "a b")
		}, "", 20},
		"an unreadable link": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Link", `</v2/x/tags/list?p=1; rel="next"`)
			return tagsPage(w, "", "a")
		}, "", 1},
		"an empty page that leads to itself": {func(w http.ResponseWriter, r *http.Request) bool {
			if at(r) > 0 {
				return tagsPage(w, "p=1")
			}
			return tagsPage(w, "p=1", "a", "b")
		}, "a b", 2},
		"an empty page that leads to the start": {func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.RawQuery {
			case "p=1":
				return tagsPage(w, "last=")
			case "last=", "":
				return tagsPage(w, "p=1", "a", "b")
			}
			return false
		}, "a b", 3},
		"empty pages in between": {func(w http.ResponseWriter, r *http.Request) bool {
			switch at(r) {
			case 3:
				return tagsPage(w, "", "z")
			case 0:
				return tagsPage(w, "p=1", "a")
			}
			return tagsPage(w, fmt.Sprint("p=", at(r)+1))
		}, "a z", 4},
		"a page cut off": {func(w http.ResponseWriter, r *http.Request) bool {
			if at(r) == 0 {
				return tagsPage(w, "p=1", "a")
			}
			_, _ = io.WriteString(w, `{"name":"x","tags":["b","c"`)
			return true
		}, "", 2},
		"a web page in between": {func(w http.ResponseWriter, r *http.Request) bool {
			if at(r) == 0 {
				return tagsPage(w, "p=1", "a")
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
			return true
		}, "", 2},
		"a missing page": {func(w http.ResponseWriter, r *http.Request) bool {
			if at(r) == 0 {
				return tagsPage(w, "p=1", "a")
			}
			w.WriteHeader(http.StatusNotFound)
			return true
		}, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &front{fixture: newFixture(t)}
			for _, n := range []int{-1, 1, 1000} {
				f.serve(&lister{size: 1, broken: test.answer})
				all, pages, err := f.follow(n)
				last := pages[len(pages)-1]
				switch {
				case test.want == "" && (err == nil || last.status < 500 || last.status > 504):
					t.Errorf("n=%d: %q, %+v", n, all, last)
				case test.want != "" && (err != nil || strings.Join(all, " ") != test.want):
					t.Errorf("n=%d: %q, %v", n, all, err)
				}
				if asked := f.list.asked(); len(asked) > test.asked {
					t.Errorf("n=%d: %d requests: %q", n, len(asked), asked)
				}
			}
		})
	}
}

// The repository is there, though a page of its list is not: nobody is told otherwise,
// and a client that asks again gets to the end.
func TestPageThatHasExpired(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(30), size: 10, opaque: true})
	first := f.get(target(10, ""))
	f.list.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusNotFound) // as zot does, whose last tag has gone
			return true
		}
		return false
	})
	if a := f.get(first.next); a.status != http.StatusBadGateway {
		t.Errorf("%+v", a)
	}
	f.list.breaks(nil)
	f.clock.advance(5 * time.Second)
	f.list.asked()
	if a := f.get(first.next); a.status != 200 || !slices.Equal(a.tags, numbered(30)[10:20]) || len(f.list.asked()) != 2 {
		t.Errorf("%+v", a)
	}
}

// A failure in the middle passes, and what came before it is not asked for again.
func TestFailureInTheMiddle(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(30), size: 10})
	first := f.get(target(10, ""))
	for _, status := range []int{http.StatusNotImplemented, http.StatusForbidden} {
		f.list.breaks(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		})
		for range 3 {
			if a := f.get(first.next); a.status < 400 {
				t.Errorf("%d: %+v", status, a)
			}
		}
		f.clock.advance(time.Minute)
	}
	if n := len(f.list.asked()); n != 3 {
		t.Errorf("%d requests, want one for the first page and one for each failure", n)
	}
	f.list.breaks(nil)
	if a := f.get(first.next); a.status != 200 || !slices.Equal(a.tags, numbered(30)[10:20]) || len(f.list.asked()) != 1 {
		t.Errorf("%+v", a)
	}
}

// A list that takes more memory than there is for lists is an error, and is not
// fetched again at once; the lists of others stay.
func TestListWithoutEnd(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(25), size: 10})
	if _, _, err := f.follow(10); err != nil {
		t.Fatal(err)
	}
	small := f.get(target(10, ""))
	f.list.asked()
	tags, long := make([]string, 50_000), strings.Repeat("x", 100)
	page := 0
	big := f.list
	other := &lister{size: 1, broken: func(w http.ResponseWriter, _ *http.Request) bool {
		for i := range tags {
			tags[i] = long + strconv.Itoa(page*len(tags)+i)
		}
		page++
		return tagsPage(w, fmt.Sprint("p=", page), tags...)
	}}
	smallPolicy, smallHandler := f.policy, f.handler
	f.serve(other)
	for refused, tries := 0, 0; refused < 3; tries++ {
		switch a := f.get(target(10, "never")); {
		case a.status == http.StatusBadGateway:
			refused++
		case a.status == http.StatusGatewayTimeout && tries < 10: // a slow machine gets there bit by bit
		default:
			t.Fatalf("%+v", a)
		}
	}
	if n := len(f.list.asked()); n < 4 || n > 12 {
		t.Errorf("%d pages of 6 MB in memory", n)
	}
	f.policy, f.handler, f.list = smallPolicy, smallHandler, big
	if a := f.get(small.next); a.status != 200 || len(f.list.asked()) != 1 {
		t.Errorf("%+v", a)
	}
}
