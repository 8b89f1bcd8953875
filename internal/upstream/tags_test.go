package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestTags(t *testing.T) {
	s, _ := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	for i := range 5 {
		s.PutManifest(repo, fmt.Sprintf("v%d", i), ocispec.MediaTypeImageIndex, []byte(emptyIndex))
	}
	c := newClient(t, s.URL())
	var all []string
	page := oci.TagsPage{N: 2}
	for pages := 1; ; pages++ {
		list, err := c.Tags(t.Context(), repo, page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list.Tags...)
		if list.Next == nil {
			break
		}
		if pages > 5 {
			t.Fatal("no end")
		}
		page = oci.TagsPage{N: -1, Extra: list.Next}
	}
	if got := strings.Join(all, " "); got != "3 v0 v1 v2 v3 v4" {
		t.Errorf("tags %q", got)
	}
	_, err := c.Tags(t.Context(), "nobody/knows", oci.TagsPage{N: -1})
	if e := wantClass(t, err, oci.ClassNotFound); e.Code != oci.CodeNameUnknown {
		t.Errorf("code %s", e.Code)
	}
	if q := s.Requests()[len(s.Requests())-1].Query; q != "" {
		t.Errorf("query %q", q)
	}
}

func TestHostileTags(t *testing.T) {
	for name, test := range map[string]struct {
		contentType, body, link string
		want                    string
		next                    string
		class                   oci.Class
	}{
		"null":       {"application/json", `{"name":"x","tags":null}`, "", "", "", ""},
		"bad tags":   {"application/json", `{"tags":["a","../b","c\n","","-d","e f","g"]}`, "", "a g", "", ""},
		"no type":    {"", `{"tags":["a"]}`, "", "a", "", ""},
		"HTML":       {"text/html", `<html>`, "", "", "", oci.ClassNotRegistry},
		"no JSON":    {"application/json", `<html>`, "", "", "", oci.ClassNotRegistry},
		"numbers":    {"application/json", `{"tags":[1]}`, "", "", "", oci.ClassNotRegistry},
		"9 MiB":      {"application/json", `{"tags":["` + strings.Repeat("a", 9<<20) + `"]}`, "", "", "", oci.ClassLength},
		"next":       {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list?next_page=abc&n=1>; rel="next"`, "a", "n=1&next_page=abc", ""},
		"foreign":    {"application/json", `{"tags":["a"]}`, `<https://evil/v2/x/tags/list?n=1>; rel="next"`, "a", "", ""},
		"other rel":  {"application/json", `{"tags":["a"]}`, `</v2/x/tags/list?n=1>; rel="prev"`, "a", "", ""},
		"other path": {"application/json", `{"tags":["a"]}`, `</admin?n=1>; rel=next`, "a", "n=1", ""},
	} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", test.contentType)
			w.Header().Set("Link", test.link)
			_, _ = io.WriteString(w, test.body)
		})
		list, err := newClient(t, s.URL).Tags(t.Context(), repo, oci.TagsPage{N: 1})
		if oci.ClassOf(err) != test.class || strings.Join(list.Tags, " ") != test.want || list.Next.Encode() != test.next {
			t.Errorf("%s: %q, %q, %v", name, list.Tags, list.Next.Encode(), err)
		}
	}
}

func TestNextPage(t *testing.T) {
	from := mustURL(t, "https://a/v2/x/tags/list?n=2")
	for link, want := range map[string]string{
		`</v2/x/tags/list?last=b&n=2>; rel="next"`:             "last=b&n=2",
		`<?last=b>;rel=next`:                                   "last=b",
		`<https://a:443/y?last=b>; rel="prev next"`:            "last=b",
		`</p>; rel="prev", </n?last=c>; title="a,b"; REL=NEXT`: "last=c",
		`<http://a/v2?last=b>; rel=next`:                       "",
		`<https://a:444/v2?last=b>; rel=next`:                  "",
		`<https://u@a/v2?last=b>; rel=next`:                    "",
		`</v2/x>; rel=next`:                                    "",
		`</v2/x?a;b>; rel=next`:                                "",
		`</v2/x?last=b`:                                        "",
		`rel=next`:                                             "",
		`<:>; rel=next`:                                        "",
		``:                                                     "",
	} {
		if got := nextPage([]string{link}, from).Encode(); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}

func FuzzLink(f *testing.F) {
	for _, seed := range []string{`</v2/x?last=b>; rel="next"`, `<a>;rel=next, <b>`, `<`, `>`, `"`, `<>;rel="`} {
		f.Add(seed)
	}
	from := mustURL(f, "https://a/v2/x/tags/list?n=2")
	f.Fuzz(func(t *testing.T, link string) {
		if next := nextPage([]string{link}, from); next != nil && len(next) == 0 {
			t.Errorf("%q: empty query", link)
		}
	})
}
