package caddymodule

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// Probes are answered before anybody has to log in, wherever the directive stands, and
// everything else goes on.
func TestHealth(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	s := newSite(t)
	guarded := "basic_auth {\nu $2a$04$6uN5xtTVDvWxWJd5yNXk0.6cgWkNjTJSzPFVXIQYcVwwCZbNlNkhK\n}\n"
	mirror := fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\n}\n}\n", upstream.URL())
	s.load(guarded + mirror + "registry_mirror_health")
	c := s.client()
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/v2/": http.StatusUnauthorized, "/readyz/": http.StatusUnauthorized,
	} {
		if response, body := c.get(path); response.StatusCode != want {
			t.Errorf("GET %s: %s: %s", path, response.Status, body)
		}
	}
	if response := c.do(http.MethodPost, "/healthz"); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("POST: %s", response.Status)
	} else {
		c.rest(response)
	}
	s.load("registry_mirror_health {\nlive /live\nready /ready\n}\n" + mirror)
	for path, want := range map[string]int{"/live": http.StatusOK, "/ready": http.StatusOK, "/healthz": http.StatusOK} {
		response, body := c.get(path)
		if response.StatusCode != want || path != "/healthz" && string(body) != "ok\n" || path == "/healthz" && len(body) > 0 {
			t.Errorf("GET %s: %s: %s", path, response.Status, body)
		}
	}
	// Without a storage that is open.
	s.load("registry_mirror_health")
	for directives, wrong := range map[string]bool{
		"registry_mirror_health x": true, "registry_mirror_health {\nlive\n}": true, "registry_mirror_health {\nready healthz\n}": true,
		"registry_mirror_health {\nlive /a\nready /a\n}": true, "registry_mirror_health {\nalive /a\n}": true,
	} {
		if err := s.tryLoad(directives); (err != nil) != wrong {
			t.Errorf("%s: %v", directives, err)
		}
	}
}
