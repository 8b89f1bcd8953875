package mirror_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/upstream"
)

// lister is a registry that has one tag list, and a way of its own to page through it.
type lister struct {
	// tags are what the pages hold, one after the other: repeated and invalid ones, too.
	tags []string
	// size is that of a page.
	size int
	// spell writes the Link header, or headers, of the page at a query.
	spell func(r *http.Request, query string) []string
	// opaque pages by a token, not by the last tag. always gives a link wherever a page
	// has tags; an empty page then leads to itself, if loops is set.
	opaque, always, loops bool
	// null is how an empty page says so.
	null bool
	// broken answers in place of a page, unless it returns false.
	broken func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	queries []string
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/tags/list") {
		http.NotFound(w, r)
		return
	}
	l.mu.Lock()
	l.queries = append(l.queries, r.URL.RawQuery)
	broken := l.broken
	l.mu.Unlock()
	if broken != nil && broken(w, r) {
		return
	}
	from := l.place(r.URL.Query())
	to := min(from+l.size, len(l.tags))
	w.Header().Set("Content-Type", "application/json")
	switch {
	case to < len(l.tags), l.always && to > from:
		w.Header()["Link"] = l.spell(r, l.cursor(to))
	case l.always && l.loops:
		w.Header()["Link"] = l.spell(r, l.cursor(len(l.tags)))
	}
	page := l.tags[from:to]
	if len(page) == 0 && !l.null {
		page = []string{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": "x", "tags": page})
}

func (l *lister) cursor(to int) string {
	if l.opaque {
		return "next_page=" + strconv.Itoa(to) + "%3D%3D&n=7"
	}
	if to == 0 {
		return "last=&n=0"
	}
	return "last=" + url.QueryEscape(l.tags[to-1]) + "&n=0"
}

func (l *lister) place(query url.Values) int {
	if l.opaque {
		n, _ := strconv.Atoi(strings.TrimSuffix(query.Get("next_page"), "=="))
		return n
	}
	return slices.Index(l.tags, query.Get("last")) + 1
}

// pages is how many requests the whole list takes.
func (l *lister) pages() int {
	n := max(1, (len(l.tags)+l.size-1)/l.size)
	if l.always && (l.loops || len(l.tags) > 0) {
		n++
	}
	return n
}

// asked returns the queries since the last call.
func (l *lister) asked() (queries []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queries, l.queries = l.queries, nil
	return queries
}

// breaks has requests answered in place of a page from now on.
func (l *lister) breaks(f func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = f
}

// want is what a client gets: every valid tag once, in this order.
func (l *lister) want() []string {
	all, seen := []string{}, map[string]bool{}
	for _, tag := range l.tags {
		if oci.ValidTag(tag) && !seen[tag] {
			all, seen[tag] = append(all, tag), true
		}
	}
	return all
}

// front is a gateway before a lister.
type front struct {
	*fixture

	list    *lister
	handler http.Handler
	served  int
}

func newFront(t testing.TB, l *lister) *front {
	t.Helper()
	f := &front{fixture: newFixture(t)}
	f.serve(l)
	return f
}

// serve puts another lister behind the gateway, of which nothing is known.
func (f *front) serve(l *lister) {
	f.t.Helper()
	if l.spell == nil {
		l.spell = spellings()[0]
	}
	server := httptest.NewServer(l)
	f.t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		f.t.Fatal(err)
	}
	client, err := upstream.New(upstream.Options{Name: upstreamName, URLs: []*url.URL{base}, Now: f.clock.Now, MaxFails: -1})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	f.served++
	f.list, f.policy.Remote, f.policy.Identity = l, client, fmt.Sprintf("%s#%d", upstreamName, f.served)
	f.configure()
	f.handler = registry.New(registry.Options{Mirror: f.mirror, Router: registry.NewRouter(map[string]registry.Upstream{upstreamName: {Name: upstreamName}}, "")})
}

// tagsAnswer is one page as a client sees it.
type tagsAnswer struct {
	status int
	tags   []string
	cache  string
	next   string // the path and query that the link leads to; "" = there is none
}

func (f *front) get(target string) (a tagsAnswer) {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	a.status, a.cache = w.Code, w.Header().Get("Cache-Status")
	var document struct{ Tags []string }
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		f.t.Errorf("%s: %v", target, err)
	}
	a.tags = document.Tags
	if link := w.Header().Get("Link"); link != "" {
		match := ownLinks.FindStringSubmatch(link)
		if match == nil {
			f.t.Fatalf("%s: link %q", target, link)
		}
		a.next = match[1]
	}
	return a
}

var ownLinks = regexp.MustCompile(`^<(/v2/proxy-docker\.io/library/alpine/tags/list\?last=[\w.-]+(?:&n=\d+)?)>; rel="next"$`)

func target(n int, last string) string {
	query := url.Values{}
	if n >= 0 {
		query.Set("n", strconv.Itoa(n))
	}
	if last != "" {
		query.Set("last", last)
	}
	return "/v2/proxy-docker.io/" + repository + "/tags/list?" + query.Encode()
}

// follow lists all tags as clients do, by n at a time.
func (f *front) follow(n int) (all []string, pages []tagsAnswer, err error) {
	f.t.Helper()
	for at := target(n, ""); at != ""; {
		a := f.get(at)
		pages = append(pages, a)
		all = append(all, a.tags...)
		switch {
		case a.status != http.StatusOK:
			return all, pages, fmt.Errorf("%s: status %d", at, a.status)
		case n >= 0 && len(a.tags) > n, a.next != "" && len(a.tags) == 0, a.next != "" && n > 0 && len(a.tags) != n:
			return all, pages, fmt.Errorf("%s: %d tags", at, len(a.tags))
		case n >= 0 && a.next != "" && !strings.HasSuffix(a.next, "&n="+strconv.Itoa(n)):
			return all, pages, fmt.Errorf("%s: next is %s", at, a.next)
		case len(pages) > 1000:
			return all, pages, fmt.Errorf("%s: no end", at)
		}
		at = a.next
	}
	return all, pages, nil
}

// spellings are how registries write the link to the next page.
func spellings() []func(r *http.Request, query string) []string {
	link := func(format string) func(*http.Request, string) []string {
		return func(r *http.Request, query string) []string {
			return strings.Split(strings.NewReplacer("{host}", r.Host, "{path}", r.URL.Path, "{query}", query).Replace(format), "\n")
		}
	}
	return []func(*http.Request, string) []string{
		link(`<{path}?{query}>; rel="next"`),
		link(`<https://{host}{path}?{query}>; rel="next"`),
		link(`<http://registry.internal:5000{path}?{query}>; rel=next`),
		link(`<//{host}/v2/account/other/tags/list?{query}>;rel="next"`),
		link(`<?{query}>; rel="next"`),
		link(`https://{host}{path}?{query}; rel=next`),
		link(`{path}?{query}; rel="next"`),
		link(`</first?a=1>; rel="first", <{path}?{query}>; title="a, b; c"; rel="last next"`),
		link("</prev?last=0>; rel=prev\n<{path}?{query}>; rel=next"),
		link(`<{path}?{query}>; REL = NEXT`),
		link(`<{path}?{query}>`),
	}
}
