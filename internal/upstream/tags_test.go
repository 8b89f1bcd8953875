package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// allTags follows a listing to its end.
func allTags(t *testing.T, c *Client) (all []string, err error) {
	t.Helper()
	var at oci.TagsCursor
	for range 20 {
		part, err := c.Tags(t.Context(), repo, at)
		if err != nil {
			return all, err
		}
		all = append(all, part.Tags...)
		if at = part.Next; at == (oci.TagsCursor{}) {
			return all, nil
		}
	}
	t.Fatal("no end")
	return nil, nil
}

func TestTags(t *testing.T) {
	t.Parallel()
	s, _ := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	for i := range 5 {
		s.PutManifest(repo, fmt.Sprintf("v%d", i), ocispec.MediaTypeImageIndex, []byte(emptyIndex))
	}
	c := newClient(t, s.URL())
	all, err := allTags(t, c)
	if got := strings.Join(all, " "); err != nil || got != "3 v0 v1 v2 v3 v4" {
		t.Errorf("tags %q, %v", got, err)
	}
	_, err = c.Tags(t.Context(), "nobody/knows", oci.TagsCursor{})
	if e := wantClass(t, err, oci.ClassNotFound); e.Code != oci.CodeNameUnknown {
		t.Errorf("code %s", e.Code)
	}
	if q := s.Requests()[len(s.Requests())-1].Query; q != "" {
		t.Errorf("query %q", q)
	}
}

func TestHostileTags(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		contentType, body, link string
		want                    string
		next                    string
		class                   oci.Class
	}{
		"null":           {"application/json", `{"name":"x","tags":null}`, "", "", "", ""},
		"null, unnamed":  {"application/json", `{"tags":null}`, "", "", "", ""},
		"no tags at all": {"application/json", `{"name":"x"}`, "", "", "", ""},
		"no list":        {"application/json", `{}`, "", "", "", oci.ClassNotRegistry},
		"errors":         {"application/json", `{"errors":[{"code":"UNKNOWN"}]}`, "", "", "", oci.ClassNotRegistry},
		"Artifactory's":  {"application/json", `{"errors":[{"status":500}],"child":[]}`, "", "", "", oci.ClassNotRegistry},
		"JSON null":      {"application/json", `null`, "", "", "", oci.ClassNotRegistry},
		"cut":            {"application/json", `{"name":"x","tags":["a","b"`, "", "", "", oci.ClassNotRegistry},
		"Google's":       {"application/json", `{"child":[],"manifest":{"sha256:0":{"tag":["a"]}},"name":"x","tags":["a"]}`, "", "a", "", ""},
		"bad tags":       {"application/json", `{"tags":["a","../b","c\n","","-d","e f",null,"g"]}`, "", "a g", "", ""},
		"no type":        {"", `{"tags":["a"]}`, "", "a", "", ""},
		"HTML":           {"text/html", `<html>`, "", "", "", oci.ClassNotRegistry},
		"no JSON":        {"application/json", `<html>`, "", "", "", oci.ClassNotRegistry},
		"numbers":        {"application/json", `{"tags":[1]}`, "", "", "", oci.ClassNotRegistry},
		"9 MiB":          {"application/json", `{"tags":["` + strings.Repeat("a", 9<<20) + `"]}`, "", "", "", oci.ClassLength},
		"next":           {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list?next_page=abc&n=1>; rel="next"`, "a", "n=1&next_page=abc", ""},
		"foreign":        {"application/json", `{"tags":["a"]}`, `<https://evil/v2/x/tags/list?n=1>; rel="next"`, "a", "n=1", ""},
		"other rel":      {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list?n=1>; rel="prev"`, "a", "", ""},
		"other path":     {"application/json", `{"tags":["a"]}`, `</admin?n=1>; rel=next`, "a", "n=1", ""},
		"unreadable":     {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list?n=1; rel="next"`, "", "", oci.ClassNotRegistry},
		"to nowhere":     {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list>; rel="next"`, "", "", oci.ClassNotRegistry},
	} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", test.contentType)
			w.Header().Set("Link", test.link)
			_, _ = io.WriteString(w, test.body)
		})
		part, err := newClient(t, s.URL).Tags(t.Context(), repo, oci.TagsCursor{})
		if oci.ClassOf(err) != test.class || strings.Join(part.Tags, " ") != test.want || part.Next.Query != test.next {
			t.Errorf("%s: %q, %q, %v", name, part.Tags, part.Next, err)
		}
	}
}

// Every page is asked for at the path that is ours, with the query that the registry
// gave, wherever its link says that the page lies.
func TestTagsAreAskedForAtHome(t *testing.T) {
	t.Parallel()
	elsewhere := script(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("the link was followed to where it says") })
	var queries []string
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/"+repo+"/tags/list" {
			t.Errorf("path %s", r.URL.Path)
		}
		queries = append(queries, r.URL.RawQuery)
		if r.URL.RawQuery == "" {
			w.Header().Set("Link", "<"+elsewhere.URL+`/v2/account/x/tags/list?last=a&n=0>; rel="next"`)
			_, _ = io.WriteString(w, `{"tags":["a"]}`)
			return
		}
		_, _ = io.WriteString(w, `{"tags":["b"]}`)
	})
	all, err := allTags(t, newClient(t, s.URL))
	if got := strings.Join(all, " "); err != nil || got != "a b" || strings.Join(queries, " ") != " last=a&n=0" {
		t.Errorf("tags %q after %q, %v", got, queries, err)
	}
}

// A redirect to another registry that drops the query would lead to the first page
// again and again.
func TestRedirectedTags(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]func(base string, r *http.Request) string{
		"other host, no query": func(base string, r *http.Request) string { return base + r.URL.Path },
		"same host, no query":  func(_ string, r *http.Request) string { return "/v2/other" + strings.TrimPrefix(r.URL.Path, "/v2") },
		"with the query":       func(base string, r *http.Request) string { return base + r.URL.RequestURI() },
	} {
		page := func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") == "b" {
				_, _ = io.WriteString(w, `{"tags":["c"]}`)
				return
			}
			w.Header().Set("Link", "<"+r.URL.Path+`?last=b&n=0>; rel="next"`)
			_, _ = io.WriteString(w, `{"tags":["a","b"]}`)
		}
		target := script(t, page)
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/other") {
				page(w, r)
				return
			}
			w.Header().Set("Location", location(target.URL, r))
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		all, err := allTags(t, newClient(t, s.URL))
		if got := strings.Join(all, " "); err != nil || got != "a b c" {
			t.Errorf("%s: tags %q, %v", name, got, err)
		}
	}
}

// A listing goes on where it was begun: another URL may have another order.
func TestTagsStayAtTheirURL(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	first := script(t, func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Link", `<?last=b>; rel="next"`)
		_, _ = io.WriteString(w, `{"tags":["a","b"]}`)
	})
	second := script(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"tags":["x"]}`) })
	c := newClient(t, first.URL, func(o *Options) { o.URLs = append(o.URLs, mustURL(t, second.URL)) })
	part, err := c.Tags(t.Context(), repo, oci.TagsCursor{})
	if err != nil || part.Next.Query != "last=b" {
		t.Fatalf("%+v, %v", part, err)
	}
	down.Store(true)
	if part, err := c.Tags(t.Context(), repo, part.Next); oci.AsError(err) == nil || oci.AsError(err).UpstreamStatus != 503 {
		t.Errorf("%+v, %v", part, err)
	}
	if part, err := c.Tags(t.Context(), repo, oci.TagsCursor{}); err != nil || len(part.Tags) != 1 {
		t.Errorf("%+v, %v", part, err)
	}
	_, err = c.Tags(t.Context(), repo, oci.TagsCursor{Endpoint: "https://gone.example/v2/", Query: "last=b"})
	if wantClass(t, err, oci.ClassStatus).UpstreamStatus != http.StatusGone {
		t.Error(err)
	}
}

func values(query string) url.Values { return queryOf("?" + query) }
