package mirror_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/testenv"
)

// Whatever way a registry pages, a client that follows our links gets each tag once, in
// the registry's order, at one request for each of the registry's pages.
func TestEveryShapeOfList(t *testing.T) {
	t.Parallel()
	rounds, seed := 150, testenv.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFront(t, &lister{size: 1})
	for round := range rounds {
		l := randomLister(random)
		f.serve(l)
		n := []int{-1, 1, 2, 3, 1 + random.IntN(30), 1000}[random.IntN(6)]
		about := fmt.Sprintf("round %d: %d tags by %d, n=%d, opaque %v, always %v, loops %v",
			round, len(l.tags), l.size, n, l.opaque, l.always, l.loops)
		all, _, err := f.follow(n)
		if err != nil || !slices.Equal(all, l.want()) {
			t.Fatalf("%s: got %q, want %q, %v", about, all, l.want(), err)
		}
		asked := l.asked()
		if len(asked) != l.pages() {
			t.Errorf("%s: %d requests for %d pages: %q", about, len(asked), l.pages(), asked)
		}
		for i, query := range asked {
			if values := strings.Contains(query, "n="); (i == 0) == values {
				t.Errorf("%s: request %d asks for %q", about, i, query)
			}
		}
	}
}

func randomLister(random *rand.Rand) *lister {
	l := &lister{
		size: 1 + random.IntN(20), opaque: random.IntN(2) == 0, always: random.IntN(3) == 0,
		loops: random.IntN(2) == 0, null: random.IntN(2) == 0,
	}
	l.spell = spellings()[random.IntN(len(spellings()))]
	for i := range random.IntN(60) {
		l.tags = append(l.tags, fmt.Sprintf("v%d.%d", random.IntN(3), i))
	}
	switch random.IntN(4) {
	case 0:
		slices.Sort(l.tags)
	case 1:
		slices.Reverse(l.tags)
	}
	if l.opaque { // else the registry itself would lose its place
		for i := range l.tags {
			switch random.IntN(8) {
			case 0:
				l.tags[i] = l.tags[random.IntN(i+1)]
			case 1:
				l.tags[i] = []string{"", "../x", "a b", "-", strings.Repeat("x", 129), "Täg"}[random.IntN(6)]
			}
		}
	}
	return l
}

func numbered(n int) (tags []string) {
	for i := range n {
		tags = append(tags, fmt.Sprintf("t%03d", i))
	}
	return tags
}

// Parameters that a client invents mean nothing, and never go upstream.
func TestInventedParameters(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(25), size: 10})
	f.list.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("next_page") || r.URL.Query().Has("orderby") {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	for _, query := range []string{"&next_page=boom", "&orderby=x&n=5", "&ns=docker.io&page=2"} {
		if a := f.get(target(-1, "") + query); a.status != 200 || len(a.tags) == 0 {
			t.Errorf("%s: %+v", query, a)
		}
	}
	if a := f.get(target(1000, "t004") + "&next_page=boom"); a.status != 200 || len(a.tags) != 20 {
		t.Errorf("%+v", a)
	}
	for _, query := range f.list.asked() {
		if query != "" && !strings.HasPrefix(query, "last=") {
			t.Errorf("the upstream is asked for %q", query)
		}
	}
}

// A place in a list survives that the list is not here any more, as after a restart.
func TestListGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(25), size: 10})
	first := f.get(target(5, ""))
	f.list.asked()
	f.reopen()
	f.serve(f.list)
	a := f.get(first.next)
	if !slices.Equal(a.tags, numbered(25)[5:10]) || len(f.list.asked()) != 1 {
		t.Errorf("%+v", a)
	}
	a = f.get(target(5, "t021"))
	if !slices.Equal(a.tags, numbered(25)[22:]) || a.next != "" || len(f.list.asked()) != 2 {
		t.Errorf("%+v", a)
	}
	// A tag that the list does not have stands where it would in order.
	for last, want := range map[string][]string{"t003x": {"t004", "t005"}, "zzz": nil, "0": {"t000", "t001"}} {
		if a := f.get(target(2, last)); a.status != 200 || !slices.Equal(a.tags, want) {
			t.Errorf("after %s: %+v", last, a)
		}
	}
}

// New tags show at once to who begins anew, and who is in an older list stays in it.
func TestNewTagsShowAtOnce(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(6), size: 2})
	all, _, err := f.follow(3)
	if err != nil || len(all) != 6 {
		t.Fatal(all, err)
	}
	old := f.get(target(2, ""))
	f.list.tags = append([]string{"new"}, f.list.tags...)
	if all, _, err = f.follow(3); err != nil || !slices.Equal(all, f.list.want()) {
		t.Errorf("%q, %v", all, err)
	}
	if a := f.get(old.next); !slices.Equal(a.tags, []string{"t002", "t003"}) {
		t.Errorf("%+v", a)
	}
}

// While the upstream is down, the last whole list serves, and says so on every page.
// Without one there is an error, also in the middle of a list.
func TestListsWhileTheUpstreamIsDown(t *testing.T) {
	t.Parallel()
	f := newFront(t, &lister{tags: numbered(25), size: 10})
	down := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotImplemented) // which is not tried again
		return true
	}
	f.list.breaks(down)
	if a := f.get(target(-1, "")); a.status != http.StatusBadGateway {
		t.Errorf("%+v", a)
	}
	f.list.breaks(nil)
	f.clock.advance(time.Minute)
	half := f.get(target(10, ""))
	f.list.breaks(down)
	if a := f.get(half.next); a.status != http.StatusBadGateway {
		t.Errorf("in the middle: %+v", a)
	}
	if a := f.get(target(10, "")); a.status != http.StatusBadGateway {
		t.Errorf("after half of a list: %+v", a)
	}
	f.list.breaks(nil)
	f.clock.advance(time.Minute)
	if _, _, err := f.follow(10); err != nil {
		t.Fatal(err)
	}
	f.list.tags = numbered(30)
	newer := f.get(target(7, ""))
	f.list.breaks(down)
	f.list.asked()
	for _, n := range []int{-1, 10, 4} {
		all, pages, err := f.follow(n)
		if err != nil || !slices.Equal(all, numbered(25)) {
			t.Errorf("n=%d: %q, %v", n, all, err)
		}
		for _, page := range pages {
			if !strings.Contains(page.cache, "detail=stale") {
				t.Errorf("n=%d: %s", n, page.cache)
			}
		}
	}
	if n := len(f.list.asked()); n != 1 {
		t.Errorf("%d requests", n)
	}
	// A client with the beginning of a new list does not get the end of an old one.
	f.list.breaks(func(w http.ResponseWriter, r *http.Request) bool { return r.URL.RawQuery != "" && down(w, r) })
	if a := f.get(newer.next); a.status != http.StatusBadGateway {
		t.Errorf("%+v", a)
	}
	f.list.breaks(nil)
	f.clock.advance(time.Minute)
	if all, pages, err := f.follow(10); err != nil || len(all) != 30 || strings.Contains(pages[0].cache, "stale") {
		t.Errorf("%q, %v", all, err)
	}
}
