package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

var (
	theSubject     = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	theSubjectsTag = "/manifests/" + oci.ReferrersTag(oci.Sum(theSubject))
)

// indexOf returns an index of referrers, padded to a size.
func indexOf(size int, names ...string) string {
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf(`{"mediaType":"a/b","digest":%q,"size":1}`, oci.Sum([]byte(name))))
	}
	document := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ocispec.MediaTypeImageIndex, strings.Join(list, ","))
	return document + strings.Repeat(" ", max(0, size-len(document)))
}

// reply answers with a status, a type and a body.
func reply(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func referrerNames(t *testing.T, found []oci.Descriptor, known ...string) string {
	t.Helper()
	byDigest := map[digest.Digest]string{}
	for _, name := range known {
		byDigest[oci.Sum([]byte(name))] = name
	}
	var all []string
	for _, d := range found {
		all = append(all, byDigest[d.Digest])
	}
	return strings.Join(all, " ")
}

// The pages of the API make one list, or none.
func TestReferrersPages(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pages []func(w http.ResponseWriter)
		want  string
		class oci.Class
		asked int
	}{
		"three pages, one twice, links to elsewhere": {[]func(http.ResponseWriter){
			indexPage(`<https://other.example:8443/x?page=1>; rel="next"`, "a", "b"), indexPage(`<?page=2>; rel=next`, "b"), indexPage("", "c"),
		}, "a b c", "", 3},
		"an empty page at the end": {[]func(http.ResponseWriter){indexPage(`<?page=1>; rel=next`, "a"), indexPage("")}, "a", "", 2},
		"an empty page that leads to itself": {[]func(http.ResponseWriter){
			indexPage(`<?page=1>; rel=next`, "a"), indexPage(`<?page=1>; rel=next`),
		}, "a", "", 2},
		"a page that leads to itself":   {[]func(http.ResponseWriter){indexPage(`<?page=0>; rel=next`, "a")}, "", oci.ClassNotRegistry, 2},
		"a link that leads nowhere":     {[]func(http.ResponseWriter){indexPage(`</x>; rel=next`, "a")}, "", oci.ClassNotRegistry, 1},
		"a link that cannot be read":    {[]func(http.ResponseWriter){indexPage(`</x?page=1; rel=next`, "a")}, "", oci.ClassNotRegistry, 1},
		"a second page that is missing": {[]func(http.ResponseWriter){indexPage(`<?page=1>; rel=next`, "a"), statusPage(404)}, "", oci.ClassStatus, 2},
		"a second page that is none": {[]func(http.ResponseWriter){indexPage(`<?page=1>; rel=next`, "a"), func(w http.ResponseWriter) {
			reply(w, 200, "application/json", "{}")
		}}, "", oci.ClassNotRegistry, 2},
		"9 MiB": {[]func(http.ResponseWriter){largePage(`<?page=1>; rel=next`), largePage(`<?page=2>; rel=next`), largePage("")}, "", oci.ClassLength, 3},
		"7 MiB": {[]func(http.ResponseWriter){largePage(`<?page=1>; rel=next`), largePage("")}, "a", "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/manifests/") {
					t.Error("the tag was asked for")
				}
				n := int(requests.Add(1)) - 1 // the client may not read all of the last one
				test.pages[min(n, len(test.pages)-1)](w)
			})
			found, err := newClient(t, s.URL, func(o *Options) { o.MaxFails = -1 }).Referrers(t.Context(), repo, oci.Sum(theSubject))
			asked := int(requests.Load())
			if oci.ClassOf(err) != test.class || referrerNames(t, found, "a", "b", "c") != test.want || asked != test.asked {
				t.Errorf("%q after %d requests, %v", referrerNames(t, found, "a", "b", "c"), asked, err)
			}
		})
	}
}

func indexPage(link string, names ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Link", link)
		reply(w, 200, ocispec.MediaTypeImageIndex, indexOf(0, names...))
	}
}

func largePage(link string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Link", link)
		reply(w, 200, ocispec.MediaTypeImageIndex, indexOf(3<<20+1<<19, "a"))
	}
}

func statusPage(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// A redirect to what is no registry says that there is no API, whatever it leads to.
func TestReferrersRedirected(t *testing.T) {
	t.Parallel()
	d := oci.Sum(theSubject)
	web := "/-/v2/packages/container/package/o%2Fn%2Freferrers%2Fsha256"
	for name, test := range map[string]struct {
		path   string
		answer func(http.ResponseWriter)
		want   string
		away   int // requests that the other host sees
	}{
		"ghcr.io's":                   {web, statusPage(404), "tag", 0},
		"to a log-in":                 {"/login?next=%2Fv2%2F", statusPage(200), "tag", 0},
		"to a registry":               {"/v2/p/images/referrers/" + d.String(), indexPage("", "api"), "api", 1},
		"to an escaped path":          {"/v2/p/referrers/" + strings.Replace(d.String(), ":", "%3A", 1), indexPage("", "api"), "api", 1},
		"to a registry without it":    {"/v2/p/referrers/" + d.String(), statusPage(405), "tag", 1},
		"to a web page":               {"/v2/p/referrers/" + d.String(), func(w http.ResponseWriter) { reply(w, 200, "text/html", "<html>") }, "tag", 1},
		"to a host that limits":       {"/v2/p/referrers/" + d.String(), statusPage(429), "tag", 1},
		"to a host that wants to log": {"/v2/p/referrers/" + d.String(), statusPage(401), "tag", 1},
	} {
		t.Run(name, func(t *testing.T) {
			away := 0
			elsewhere := script(t, func(w http.ResponseWriter, _ *http.Request) {
				away++
				test.answer(w)
			})
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, theSubjectsTag):
					reply(w, 200, ocispec.MediaTypeImageIndex, indexOf(0, "tag"))
				case strings.Contains(r.URL.Path, "/referrers/"):
					w.Header().Set("Location", elsewhere.URL+test.path)
					w.WriteHeader(http.StatusSeeOther)
				default:
					sendIndex(w)
				}
			})
			c := newClient(t, s.URL)
			found, err := c.Referrers(t.Context(), repo, d)
			if got := referrerNames(t, found, "tag", "api"); err != nil || got != test.want || away != test.away {
				t.Errorf("%q after %d requests to the other host, %v", got, away, err)
			}
			// What the other host says of its limits is nothing to this registry.
			if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the referrers tag names is a list only if it is an index, and not of the
// subject itself.
func TestReferrersTag(t *testing.T) {
	t.Parallel()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":1},"layers":[]}`,
		ocispec.MediaTypeImageManifest, oci.Sum(nil))
	dockers := strings.Replace(indexOf(0, "a"), ocispec.MediaTypeImageIndex, oci.MediaTypeDockerManifestList, 1)
	for name, test := range map[string]struct {
		api, status       int
		contentType, body string
		want              string
		class             oci.Class
	}{
		"a list":                      {404, 200, ocispec.MediaTypeImageIndex, indexOf(0, "a", "b"), "a b", ""},
		"none":                        {404, 404, "", "", "", ""},
		"the subject itself, GitLab":  {404, 200, ocispec.MediaTypeImageIndex, string(theSubject), "", ""},
		"a manifest":                  {404, 200, ocispec.MediaTypeImageManifest, manifest, "", ""},
		"a list of Docker's":          {404, 200, oci.MediaTypeDockerManifestList, dockers, "", ""},
		"a web page":                  {404, 200, "text/html", "<html>", "", ""},
		"JSON":                        {404, 200, "application/json", `{"x":1}`, "", ""},
		"a tag that it does not like": {405, 400, "application/json", `{"errors":[]}`, "", ""},
		"a type that it has not":      {406, 406, "", "", "", ""},
		"ACR's cache":                 {424, 404, "", "", "", ""},
		"an API that is refused":      {403, 200, ocispec.MediaTypeImageIndex, indexOf(0, "a"), "a", ""},
		"all of it is refused":        {403, 403, "", "", "", oci.ClassDenied},
		"a tag in trouble":            {404, 501, "", "", "", oci.ClassStatus},
		"an API in trouble":           {501, 200, ocispec.MediaTypeImageIndex, indexOf(0, "a"), "", oci.ClassStatus},
		"an API that limits":          {429, 200, ocispec.MediaTypeImageIndex, indexOf(0, "a"), "", oci.ClassRateLimited},
		"an API that takes long":      {408, 200, ocispec.MediaTypeImageIndex, indexOf(0, "a"), "", oci.ClassStatus},
	} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				w.WriteHeader(test.api)
				return
			}
			reply(w, test.status, test.contentType, test.body)
		})
		found, err := newClient(t, s.URL).Referrers(t.Context(), repo, oci.Sum(theSubject))
		if got := referrerNames(t, found, "a", "b"); got != test.want || oci.ClassOf(err) != test.class {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A repository may be named after what is asked of it.
func TestRepositoryNamedReferrers(t *testing.T) {
	t.Parallel()
	blob := []byte("blob")
	cdn := script(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blob) })
	s := script(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL+"/x", http.StatusFound) })
	b, err := newClient(t, s.URL).Blob(t.Context(), "a/referrers", oci.Sum(blob), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || string(got) != "blob" {
		t.Errorf("%q, %v", got, err)
	}
}
