package registrytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func tagsIn(t *testing.T, a answer) []string {
	t.Helper()
	var list struct{ Tags []string }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %.200s", a.Request.URL, a.Status, a.body)
	}
	return list.Tags
}

// TestTagLists lists 2,500 tags of each profile by its links: all come, once, in as
// many pages as are known, and the first link is the literal one.
func TestTagLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		profile, query string
		pages          int
		link           string // of the first page
	}{
		{"docker.io", "", 1, ""},
		{"docker.io", "?n=1000", 3, `</v2/{open}/tags/list?last=v0999&n=1000>; rel="next"`},
		{"ghcr.io", "", 26, `</v2/{open}/tags/list?last=v2402&n=0>; rel="next"`},
		{"ghcr.io", "?n=1000", 26, `</v2/{open}/tags/list?last=v2402&n=0>; rel="next"`},
		{"quay.io", "", 26, `</v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"quay.io", "?n=1000", 26, `</v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"quay", "", 26, `<{self}/v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"registry.k8s.io", "?n=100", 1, ""},
		{"pkg.dev", "?n=100", 1, ""},
		{"public.ecr.aws", "", 3, `</v2/{open}/tags/list?last=v0999&n=1000>; rel="next"`},
		{"dkr.ecr", "?n=1000", 3, `</v2/{open}/tags/list?last=v0999&n=1000>; rel="next"`},
		{"azurecr.io", "", 26, `</v2/{open}/tags/list?last=v0099&n=100&orderby=>; rel="next"`},
		{"registry.gitlab", "", 26, `</v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"harbor", "?n=100", 26, `</v2/{open}/tags/list?last=v0099&n=100>; rel="next"`},
		{"nexus", "?n=100", 26, `<{self}/v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"artifactory", "", 1, ""},
		{"pulp", "", 26, `<{self}/v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
		{"gitea", "", 2, `</v2/{open}/tags/list?last=v2500>; rel="next"`},
		{"gitea", "?n=100", 2, `</v2/{open}/tags/list?last=v0099>; rel="next"`},
		{"nvcr.io", "?n=100", 1, ""},
		{"registry-2", "?n=100", 1, ""},
		{"zot", "?n=100", 26, `</v2/{open}/tags/list?n=100&last=v0099>; rel="next"`},
	} {
		t.Run(c.profile+c.query, func(t *testing.T) {
			w := newWorld(t, c.profile)
			want := []string{"1"}
			for i := 2500; i > 0; i-- { // the oldest are the last by name
				want = append(want, fmt.Sprintf("v%04d", i))
				w.PutTag(w.name("open"), want[len(want)-1], w.images["open"].Index.Digest)
			}
			if w.profile.Name == "gitea" && c.query != "" {
				c.pages++ // its links name no size, and the last page has one, too
			}
			var got []string
			next, pages := "/v2/"+w.name("open")+"/tags/list"+c.query, 0
			for ; next != "" && pages < 100; pages++ {
				a := w.pull(next, basic)
				got = append(got, tagsIn(t, a)...)
				link := a.Header.Get("Link")
				if pages == 0 && link != w.places(c.link) {
					t.Errorf("link %s, want %s", link, w.places(c.link))
				}
				next, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(link, "<"), w.URL()), ">")
			}
			slices.Sort(got)
			slices.Sort(want)
			if pages != c.pages || !slices.Equal(got, want) {
				t.Errorf("%d tags on %d pages, want %d on %d", len(got), pages, len(want), c.pages)
			}
		})
	}
}

// TestCutListHasNoLink is what Artifactory does: whoever asks for a page is told of
// no other one.
func TestCutListHasNoLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "artifactory")
	w.PutTag(w.name("open"), "2", w.images["open"].Index.Digest)
	if a := w.pull("/v2/"+w.name("open")+"/tags/list?n=1", ""); len(tagsIn(t, a)) != 1 || a.Header.Get("Link") != "" {
		t.Errorf("%s, Link %q", a.body, a.Header.Get("Link"))
	}
}

// TestFullPageHasLink is what Pulp does: the last page has one, if it is full.
func TestFullPageHasLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "pulp")
	a := w.pull("/v2/"+w.name("open")+"/tags/list?n=1", "")
	if want := w.places(`<{self}/v2/{open}/tags/list?n=1&last=1>; rel="next"`); a.Header.Get("Link") != want {
		t.Errorf("Link %q, want %q", a.Header.Get("Link"), want)
	}
	if a = w.pull("/v2/"+w.name("open")+"/tags/list?n=1&last=1", ""); a.body != w.places(`{"name":"{open}","tags":[]}`+"\n") || a.Header.Get("Link") != "" {
		t.Errorf("%s, Link %q", a.body, a.Header.Get("Link"))
	}
}

// TestBlobsAppear asks for a blob before and after what brings it in.
func TestBlobsAppear(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		profile         string
		headFirst       int // of the blob, at first
		getFirst        int
		afterManifest   int // HEAD after the manifest that names it was got
		afterGet, where int
	}{
		{"harbor", 404, 200, 404, 200, 206},
		{"artifactory", 404, 404, 200, 200, 206},
		{"zot-sync", 404, 404, 200, 200, 206},
		{"docker.io", 307, 307, 307, 307, 307},
	} {
		t.Run(c.profile, func(t *testing.T) {
			w := newWorld(t, c.profile)
			as := w.as("", "open")
			blob := "/v2/" + w.name("open") + "/blobs/" + w.images["open"].Platforms[0].Layers[0].Digest.String()
			manifest := "/v2/" + w.name("open") + "/manifests/" + w.images["open"].Platforms[0].Manifest.Digest.String()
			statuses := []int{w.ask("HEAD "+blob, as).StatusCode}
			w.ask("GET "+manifest, as)
			statuses = append(statuses, w.ask("HEAD "+blob, as).StatusCode, w.ask("GET "+blob, as, "Range", "bytes=0-9").StatusCode,
				w.ask("HEAD "+blob, as).StatusCode, w.ask("GET "+blob, as, "Range", "bytes=0-9").StatusCode)
			cold := c.where
			if c.profile == "harbor" {
				cold = http.StatusOK // whole, the first time
			}
			if want := []int{c.headFirst, c.afterManifest, cold, c.afterGet, c.where}; !slices.Equal(statuses, want) {
				t.Errorf("%d, want %d", statuses, want)
			}
			if got := newWorld(t, c.profile); got.ask("GET "+blob, got.as("", "open")).StatusCode != c.getFirst {
				t.Errorf("a GET at first is not %d", c.getFirst)
			}
		})
	}
}

// TestSignedURLs follows redirects in wrong ways.
func TestSignedURLs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		profile    string
		otherVerb  int // GET of what HEAD was sent to, or HEAD of what GET was
		authorized int
	}{
		{"docker.io", 403, 400},
		{"registry-2", 403, 400},
		{"pulp", 403, 400},
		{"gitea", 403, 400},
		{"pkg.dev", 200, 200}, // on the same host
		{"registry.k8s.io", 200, 400},
	} {
		w := newWorld(t, c.profile)
		as := w.as("", "open")
		a := w.ask("GET /v2/{open}/blobs/{layer}", as)
		to, err := a.Request.URL.Parse(a.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ask("GET "+to.String(), ""); got.StatusCode != http.StatusOK || len(got.body) != 300 {
			t.Errorf("%s: GET: %s", c.profile, got.Status)
		}
		if got := w.ask("HEAD "+to.String(), ""); got.StatusCode != c.otherVerb {
			t.Errorf("%s: HEAD: %s, want %d", c.profile, got.Status, c.otherVerb)
		}
		if got := w.ask("GET "+to.String(), basic); got.StatusCode != c.authorized {
			t.Errorf("%s: GET with Authorization: %s, want %d", c.profile, got.Status, c.authorized)
		}
		if got := w.ask("GET "+strings.ReplaceAll(to.String(), "sig", "gis")+"0", ""); got.StatusCode < 400 {
			t.Errorf("%s: GET of a URL that was not made: %s", c.profile, got.Status)
		}
	}
}

// TestGhcrReferrersAreElsewhere follows to the host that is busy.
func TestGhcrReferrersAreElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ghcr.io")
	if a := w.pull("/v2/"+w.name("open")+"/referrers/"+w.images["open"].Index.Digest.String(), ""); a.StatusCode != http.StatusTooManyRequests || a.Request.URL.Host == w.Addr() {
		t.Errorf("%s of %s", a.Status, a.Request.URL)
	}
}

// TestTokensExpire takes a token that is too old to each profile.
func TestTokensExpire(t *testing.T) {
	t.Parallel()
	for _, p := range Profiles() {
		if p.Auth.Tokens == nil {
			continue
		}
		w := newWorld(t, p.Name)
		as := w.as(basic, "closed")
		w.ExpireTokens()
		want := http.StatusUnauthorized
		if p.Name == "public.ecr.aws" {
			want = http.StatusBadRequest
		}
		if a := w.ask("GET /v2/{closed}/manifests/1", as); p.HasAccounts() && strings.HasPrefix(as, "Bearer") && a.StatusCode != want {
			t.Errorf("%s: %s, want %d", p.Name, a.Status, want)
		}
	}
}

// TestManifestsWantTheirType asks without it.
func TestManifestsWantTheirType(t *testing.T) {
	t.Parallel()
	for profile, digestToo := range map[string]bool{"ghcr.io": true, "azurecr.io": true, "registry-2": true, "registry.ollama.ai": true, "pulp": false} {
		w := newWorld(t, profile)
		as := w.as("", "open")
		for reference, want := range map[string]bool{"1": true, "{index}": digestToo} {
			a := w.ask("GET /v2/{open}/manifests/"+reference, as, "Accept", "*/*")
			if (a.StatusCode == http.StatusNotFound) != want {
				t.Errorf("%s: %s: %s", profile, reference, a.Status)
			}
		}
	}
}

// TestRequestsOfProfilesAreCounted sees each kind at its host.
func TestRequestsOfProfilesAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "pkg.dev")
	w.ask("GET {self}/v2/token", "")
	a := w.ask("GET /v2/{open}/blobs/{layer}", "")
	w.ask("GET "+a.Header.Get("Location"), "")
	w.ask("GET /v2/{open}/tags/list", "")
	if got := []int{w.Count("", "token"), w.Count("GET", "blobs"), w.Count("", "tags"), int(w.BlobBytes())}; !slices.Equal(got, []int{1, 2, 1, 300}) {
		t.Errorf("%d: %v", got, w.Requests())
	}
}
