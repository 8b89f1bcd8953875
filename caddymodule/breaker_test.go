package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// An upstream that fails is seen to be left alone, and clients are told at once.
func TestBreakerIsShown(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 3, 10)
	s := newSite(t)
	s.load(fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\nmax_fails 2\ntag_ttl 0\n}\n}", upstream.URL()))
	base, _ := adminServer(t)
	gauge := fmt.Sprintf(`breaker_state{upstream="docker.io",url=%q}`, upstream.URL())
	status := func() (b operate.UpstreamStatus) {
		var answer operate.Status
		if err := json.NewDecoder(post(t.Context(), t, http.MethodGet, base+operate.StatusPath).Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		for _, b := range answer.Upstreams {
			if b.URL == upstream.URL() {
				return b
			}
		}
		t.Fatalf("the upstream is not shown: %+v", answer)
		return b
	}
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	if b := status(); s.scrape()[gauge] != 0 || b.State != "ok" || b.Breaker != "closed" || b.Name != "docker.io" {
		t.Errorf("before: %v, %+v", s.scrape()[gauge], b)
	}
	resume := upstream.Pause()
	// A connection that was cut is tried again at once, so one request can do.
	for i := 0; ; i++ {
		response, body := c.get(fmt.Sprintf("/v2/proxy-docker.io/library/alpine/manifests/cold-%d", i))
		if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "" {
			break
		}
		if response.StatusCode != http.StatusBadGateway || i == 2 {
			t.Fatalf("request %d: %s: %s", i, response.Status, body)
		}
	}
	if b := status(); s.scrape()[gauge] != 2 || b.State != "down" || b.Breaker != "open" || b.Error == "" || b.Help == "" || b.Fails != 2 || b.Class != "connect" || b.Wait <= 0 {
		t.Errorf("open: %v, %+v", s.scrape()[gauge], b)
	}
	resume()
}
