package caddymodule

import (
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestImmutableTagsAsksForTheOthers pulls through a site: v1.2 is no v1, so that
// whoever moves it is heard.
func TestImmutableTagsAsksForTheOthers(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	for seed, tag := range []string{"v1", "v1.2"} {
		upstream.PutImage("library/alpine", tag, uint64(seed), 10)
	}
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\ntag_ttl 0\nimmutable_tags v1\n}\n}")
	c := s.client()
	for tag, want := range map[string]int{"v1": 0, "v1.2": 1} {
		path := "/v2/proxy-docker.io/library/alpine/manifests/" + tag
		c.rest(c.do(http.MethodGet, path))
		upstream.Reset()
		c.rest(c.do(http.MethodGet, path))
		if n := upstream.Count("", ""); n != want {
			t.Errorf("%s: the upstream is asked %d times once it is known, want %d", tag, n, want)
		}
	}
}
