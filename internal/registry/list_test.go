package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

func TestTagsPage(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]oci.TagsPage{
		"":                              {N: -1},
		"ns=ghcr.io":                    {N: -1},
		"n=0":                           {N: 0},
		"n=1000":                        {N: 1000},
		"n=1001":                        {N: 1000},
		"n=1" + strings.Repeat("0", 30): {N: 1000},
		"n=5&last=v1":                   {N: 5, Last: "v1"},
		"last=a%3D%3D":                  {N: -1, Last: "a=="},
		"next_page=x&n=2":               {N: 2},
		"orderby=&next_page=boom":       {N: -1},
	} {
		if got, _, err := tagsPage(query); err != nil || got != want {
			t.Errorf("tagsPage(%q) = %+v, %v, want %+v", query, got, err, want)
		}
	}
	for _, query := range []string{
		"n=-1", "n=abc", "n=", "n=1.5", "n=+1", "n=1&n=2", "last=a&last=b", "n=%zz", "a;b",
		"last=" + strings.Repeat("x", 64<<10), "last=a%0d%0ab", "last=%00", "last=%C3%A4", "x%0a=1",
		"a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1", strings.Repeat("x", 3000) + "=1",
	} {
		if got, _, err := tagsPage(query); oci.AsError(err) == nil || oci.AsError(err).Status != http.StatusBadRequest {
			t.Errorf("tagsPage(%.40q) = %+v, %v, want a 400", query, got, err)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target     string
		list       oci.TagList
		body, link string
		asked      int
	}{
		{testPrefix + "/tags/list", oci.TagList{Tags: []string{"a", "b"}}, `{"name":"proxy-ghcr.io/a/b","tags":["a","b"]}`, "", -1},
		{testPrefix + "/tags/list", oci.TagList{}, `{"name":"proxy-ghcr.io/a/b","tags":[]}`, "", -1},
		{
			testPrefix + "/tags/list",
			oci.TagList{Tags: []string{"a", "b"}, More: true},
			`{"name":"proxy-ghcr.io/a/b","tags":["a","b"]}`,
			"<" + testPrefix + `/tags/list?last=b>; rel="next"`, -1,
		},
		{
			testPrefix + "/tags/list?n=2&next_page=boom",
			oci.TagList{Tags: []string{"a", "b"}, More: true},
			`{"name":"proxy-ghcr.io/a/b","tags":["a","b"]}`,
			"<" + testPrefix + `/tags/list?last=b&n=2>; rel="next"`, 2,
		},
		// The n is the client's own, whatever fits into a page.
		{
			testPrefix + "/tags/list?n=10000&last=0",
			oci.TagList{Tags: []string{"a", "b"}, More: true},
			`{"name":"proxy-ghcr.io/a/b","tags":["a","b"]}`,
			"<" + testPrefix + `/tags/list?last=b&n=10000>; rel="next"`, 1000,
		},
		{
			"/v2/x/tags/list?n=2&ns=registry-1.docker.io",
			oci.TagList{Tags: []string{"a", "b"}, More: true},
			`{"name":"x","tags":["a","b"]}`,
			`</v2/x/tags/list?last=b&n=2&ns=registry-1.docker.io>; rel="next"`, 2,
		},
		{
			"/proxy-docker.io/v2/x/tags/list?n=2&ns=ghcr.io",
			oci.TagList{Tags: []string{"a"}, More: true},
			`{"name":"x","tags":["a"]}`,
			`</proxy-docker.io/v2/x/tags/list?last=a&n=2>; rel="next"`, 2,
		},
		// nothing wanted, yet the repository has to exist
		{testPrefix + "/tags/list?n=0", oci.TagList{Tags: []string{"a"}, More: true}, `{"name":"proxy-ghcr.io/a/b","tags":[]}`, "", 1},
	} {
		t.Run(test.target, func(t *testing.T) {
			m := &fakeMirror{tags: test.list}
			w := record(New(options(m)), http.MethodGet, test.target)
			if w.Code != 200 || w.Body.String() != test.body {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, test.body)
			}
			wantHeader(t, w.Result(), http.Header{
				"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(test.body))}, "Cache-Control": {cacheChecked},
			})
			if got := w.Header().Get("Link"); got != test.link {
				t.Errorf("Link is %q, want %q", got, test.link)
			}
			if len(m.pages) != 1 || m.pages[0].N != test.asked {
				t.Errorf("the mirror was asked for %+v", m.pages)
			}
			head := record(New(options(m)), http.MethodHead, test.target)
			if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
				t.Errorf("HEAD is %d with %v", head.Code, head.Header())
			}
		})
	}
	m := &fakeMirror{}
	if w := record(New(options(m)), http.MethodGet, testPrefix+"/tags/list?n=-1"); w.Code != 400 || m.count() != 0 {
		t.Errorf("got %d, the mirror was asked %d times", w.Code, m.count())
	}
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	one := oci.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: testDigest, Size: 1, ArtifactType: "application/x"}
	two := oci.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: testDigest, Size: 2, ArtifactType: "application/y"}
	const empty = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	target := testPrefix + "/referrers/" + testDigest.String()
	for _, test := range []struct {
		query     string
		referrers []oci.Descriptor
		sizes     string // of what comes, to tell them apart
		filtered  bool
	}{
		{"", nil, "", false},
		{"", []oci.Descriptor{one, two}, "1 2", false},
		{"?artifactType=application/y", []oci.Descriptor{one, two}, "2", true},
		{"?artifactType=application%2Fx&ns=docker.io", []oci.Descriptor{one, two}, "1", true},
		{"?artifactType=application/z", []oci.Descriptor{one, two}, "", true},
		{"?artifactType=", []oci.Descriptor{one}, "1", false},
		{"?artifactType=application/x&artifactType=application/y", []oci.Descriptor{one, two}, "1 2", true},
		{"?artifactType=application/z&artifactType=application/y&artifactType=", []oci.Descriptor{one, two}, "2", true},
		{"?artifactType=&artifactType=", []oci.Descriptor{one, two}, "1 2", false},
	} {
		m := &fakeMirror{referrers: test.referrers}
		w := record(New(options(m)), http.MethodGet, target+test.query)
		want := http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}, "Oci-Filters-Applied": nil}
		if test.filtered {
			want["Oci-Filters-Applied"] = []string{"artifactType"}
		}
		wantHeader(t, w.Result(), want)
		if w.Code != 200 || test.sizes == "" && w.Body.String() != empty {
			t.Errorf("%s: got %d %s", test.query, w.Code, w.Body)
		}
		var sizes []string
		for _, size := range []string{"1", "2"} {
			if strings.Contains(w.Body.String(), `"size":`+size) {
				sizes = append(sizes, size)
			}
		}
		if got := strings.Join(sizes, " "); got != test.sizes {
			t.Errorf("%s: got %s", test.query, w.Body)
		}
		if len(test.referrers) > 1 && (test.referrers[0].Size != 1 || test.referrers[1].Size != 2) {
			t.Error("the mirror's own list was changed")
		}
	}
	for _, query := range []string{
		"?artifactType=" + strings.Repeat("x", 8<<10), "?artifactType=a%0d%0a", "?artifactType=%zz",
		"?artifactType=a/b&artifactType=%00", "?" + strings.Repeat("artifactType=a/b&", maxArtifactTypes+1),
	} {
		m := &fakeMirror{}
		if w := record(New(options(m)), http.MethodGet, target+query); w.Code != 400 || m.count() != 0 {
			t.Errorf("%.30s: got %d, the mirror was asked %d times", query, w.Code, m.count())
		}
	}
}

// oras gives up on a NAME_UNKNOWN for referrers.
func TestReferrersOfAnUnknownRepository(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{err: oci.NewError(oci.CodeNameUnknown, "no such repository")}
	w := record(New(options(m)), http.MethodGet, testPrefix+"/referrers/"+testDigest.String())
	if w.Code != 404 {
		t.Errorf("got %d", w.Code)
	}
	checkDocument(t, w.Result(), w.Body.Bytes(), oci.CodeManifestUnknown)
}

func FuzzTagsPage(f *testing.F) {
	f.Add("n=10&last=v1&next_page=x")
	f.Add("n=-1")
	f.Add("last=%00")
	f.Fuzz(func(t *testing.T, query string) {
		page, n, err := tagsPage(query)
		if err != nil {
			return
		}
		if page.N < -1 || page.N > maxPage || !printable(page.Last+n) || len(page.Last)+len(n) > maxParameter || (n == "") != (page.N < 0) {
			t.Errorf("tagsPage(%q) = %+v, %q", query, page, n)
		}
	})
}
