package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func names(l listing) (all []string) {
	for _, e := range l.Entries {
		all = append(all, e.Name)
	}
	return all
}

func wantNames(t *testing.T, what string, l listing, want ...string) {
	t.Helper()
	if got := names(l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// The listing leads from registries over repositories to images, and finds them.
func TestImages(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "ghcr.io": nil})
	if l := get[listing](p, "/api/images"); l.Total != 0 || l.Pages != 1 || l.Entries == nil {
		t.Errorf("of nothing: %+v", l)
	}
	for _, image := range [][3]string{
		{"docker.io", "library/alpine", "3"}, {"docker.io", "library/alpine", "edge"}, {"docker.io", "bitnami/redis", "8"}, {"ghcr.io", "org/app", "v1"},
	} {
		p.put(image[0], image[1], image[2])
	}
	p.run.images.changed()
	pin, err := oci.ParsePin("docker.io/library/alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.Pin(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	top := get[listing](p, "/api/images")
	wantNames(t, "registries", top, "docker.io", "ghcr.io")
	if e := top.Entries[0]; e.Repositories != 2 || e.Tags != 3 {
		t.Errorf("docker.io is %+v", e)
	}
	wantNames(t, "repositories", get[listing](p, "/api/images?in=docker.io"), "docker.io/bitnami/redis", "docker.io/library/alpine")
	alpine := get[listing](p, "/api/images?in=docker.io/library/alpine")
	wantNames(t, "images", alpine, "docker.io/library/alpine:3", "docker.io/library/alpine:edge")
	if e := alpine.Entries[0]; fmt.Sprint(e.Pins) != "[docker.io/library/alpine:3]" || e.Checked == nil || e.Digest == "" || len(alpine.Entries[1].Pins) > 0 {
		t.Errorf("images are %+v", alpine.Entries)
	}
	wantNames(t, "words", get[listing](p, "/api/images?q="+url.QueryEscape("ALPINE docker")), "docker.io/library/alpine:3", "docker.io/library/alpine:edge")
	wantNames(t, "nothing", get[listing](p, "/api/images?q=none"))
	wantNames(t, "newest first", get[listing](p, "/api/images?q=i&sort=checked"), names(get[listing](p, "/api/images?q=i"))...)
	if answer, _ := p.ask(http.MethodGet, "/api/images?in=a+b/c"); answer.Code == http.StatusInternalServerError {
		t.Errorf("nonsense: %d %s", answer.Code, answer.Body)
	}
}

// fillLarge puts 10,000 tags of 1000 repositories.
func (p *page) fillLarge() {
	p.t.Helper()
	now := time.Now()
	for r := range 1000 {
		scope := oci.Scope{Upstream: "docker.io", Repository: fmt.Sprintf("org/app-%03d", r)}
		for n := range 10 {
			d := oci.Sum(fmt.Appendf(nil, "%d %d", r, n))
			tag := storage.Tag{Digest: d, MediaType: "application/vnd.oci.image.index.v1+json", Size: 1000, Checked: now, Changed: now}
			if err := p.store.PutTag(p.t.Context(), scope, fmt.Sprintf("v%d", n), tag); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// largeQueries ask for pages of 10,000 images.
var largeQueries = []string{"?", "?in=docker.io&page=3", "?in=docker.io/org/app-077", "?q=app-77+v3&sort=checked", "?q=app&page=1000"}

// Of 10,000 images, the first answer is there soon, whatever the sizes take.
func TestImagesOfLargeStore(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a store")
	}
	p := newPage(t, map[string][]string{"docker.io": nil})
	p.fillLarge()
	for _, query := range largeQueries {
		p.run.images.changed()
		began := time.Now()
		l := get[listing](p, "/api/images"+query)
		took := time.Since(began)
		t.Logf("%s: %d entries of %d in %v", query, len(l.Entries), l.Total, took)
		if took > 10*time.Second {
			t.Errorf("%s took %v", query, took)
		}
	}
	page := get[listing](p, "/api/images?in=docker.io&page=3")
	if page.Total != 1000 || page.Pages != 20 || len(page.Entries) != pageSize || page.Entries[0].Name != "docker.io/org/app-150" {
		t.Errorf("page is %d of %d, from %s", page.Page, page.Pages, page.Entries[0].Name)
	}
	last := get[listing](p, "/api/images?q=app&page=1000")
	if last.Total != 10000 || last.Page != 199 || len(last.Entries) != pageSize {
		t.Errorf("the last page is %d of %d, of %d images", last.Page, last.Pages, last.Total)
	}
}

// BenchmarkImagesOfLargeStore measures the first answer, when nothing is known yet.
func BenchmarkImagesOfLargeStore(b *testing.B) {
	p := newPage(b, map[string][]string{"docker.io": nil})
	p.fillLarge()
	for _, query := range largeQueries {
		b.Run(query, func(b *testing.B) {
			for b.Loop() {
				p.run.images.changed()
				get[listing](p, "/api/images"+query)
			}
		})
	}
}
