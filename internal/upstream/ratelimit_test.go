package upstream

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestRateLimitIsRemembered(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	now := newClock()
	header := "120"
	var limited atomic.Bool
	limited.Store(true)
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if limited.Load() && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next(w, r)
	})
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	want := func(left time.Duration, requests int) {
		t.Helper()
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		e := wantClass(t, err, oci.ClassRateLimited)
		if e.RetryAfter != left || e.Status != http.StatusTooManyRequests || e.Code != oci.CodeTooManyRequests {
			t.Errorf("%+v, want %v left", e, left)
		}
		if n := s.Count("", "manifests"); n != requests {
			t.Errorf("%d requests, want %d", n, requests)
		}
	}
	want(120*time.Second, 1)
	now.add(20 * time.Second)
	want(100*time.Second, 1)
	// Downloads that are under way go on.
	readBlob(t, c, image.Platforms[0], 2, 0, -1)
	now.add(100 * time.Second)
	header = now.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	want(time.Minute, 2)
	now.add(time.Minute)
	limited.Store(false)
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
}

// Docker Hub tells how much is left. Who asks at 0 is refused, and blamed.
func TestUsedUpLimit(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	now := newClock()
	left := "1;w=21600"
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		w.Header().Set("ratelimit-limit", "100;w=21600")
		w.Header().Set("ratelimit-remaining", left)
		next(w, r)
	})
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	get := func() error { _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); return err }
	for _, left = range []string{"1;w=21600", "0;w=21600"} {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		if e := wantClass(t, get(), oci.ClassRateLimited); e.RetryAfter != time.Minute {
			t.Fatalf("retry after %s", e.RetryAfter)
		}
	}
	if n := s.Count(http.MethodGet, "manifests"); n != 2 {
		t.Errorf("%d GETs, want 2", n)
	}
	// These do not count there.
	if _, err := headManifest(t.Context(), c, repo, tag(image.Tag)); err != nil {
		t.Error(err)
	}
	readBlob(t, c, image.Platforms[0], 2, 0, -1)
	left = "7;w=21600"
	now.add(time.Minute)
	for range 2 {
		if err := get(); err != nil {
			t.Error(err)
		}
	}
}

// A HEAD says that nothing is left for two seconds: that long, and no longer, a GET is
// refused.
func TestLimitThatIsUsedUpForSeconds(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	s.On(registrytest.Rule{Kind: "manifests", Method: http.MethodHead, Hook: registrytest.Spoil{Header: func(h http.Header) {
		h.Set("RateLimit-Remaining", "0")
		h.Set("RateLimit-Reset", "2")
	}}.Hook()})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	if _, err := headManifest(t.Context(), c, repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	e := wantClass(t, second(c.Manifest(t.Context(), repo, tag(image.Tag))), oci.ClassRateLimited)
	if e.RetryAfter != 2*time.Second || !strings.Contains(e.Message, "limits pulls until ") {
		t.Errorf("%+v", e)
	}
	now.add(2 * time.Second)
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Error(err)
	}
}
