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

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 30 * time.Second, "x": 30 * time.Second, "-5": 30 * time.Second, "1.5": 30 * time.Second,
		"0": time.Second, "5": 5 * time.Second, " 7 ": 7 * time.Second, "1000000000": time.Hour,
		"99999999999999999999999": time.Hour, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2020 03:05:05 GMT": time.Second, "Fri, 02 Jan 2037 03:05:05 GMT": time.Hour,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "1", "99999999999999999999", "Fri, 02 Jan 2026 03:05:05 GMT", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, time.Now()); d < minRetryAfter || d > maxRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}

// Docker Hub tells how much is left. Who asks at 0 is refused, and blamed.
func TestUsedUpLimit(t *testing.T) {
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

func TestUsedUp(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "1": 0, "x": 0, "-1": 0, "100;w=21600": 0, "0": time.Minute, "0;w=21600": time.Minute,
		" 0 ; w=10": 10 * time.Second, "0;w=-1": time.Minute, "0;w=99999999999999999999": time.Minute, "0;q=1;w=5": 5 * time.Second,
	} {
		header := http.Header{"Ratelimit-Remaining": {value}}
		if got, ok := usedUp(header, time.Now()); got != want || ok != (want > 0) {
			t.Errorf("%q: %v, %v, want %v", value, got, ok, want)
		}
	}
}

// What the registry says of when there is more again counts, in whatever spelling.
func TestUsedUpUntilReset(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for reset, want := range map[string]time.Duration{
		"2": 2 * time.Second, " 2 ": 2 * time.Second, "0": 0, "0.5": 500 * time.Millisecond, "3600": time.Minute,
		"1800000002": 2 * time.Second, "1799999999": 0, "": time.Minute, "soon": time.Minute, "-1": time.Minute, "NaN": time.Minute,
	} {
		for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
			header := http.Header{prefix + "Remaining": {"0"}, prefix + "Reset": {reset}}
			if got, ok := usedUp(header, now); got != want || !ok {
				t.Errorf("%s%q: %v, %v, want %v", prefix, reset, got, ok, want)
			}
		}
	}
}

// A HEAD says that nothing is left for two seconds: that long, and no longer, a GET is
// refused.
func TestLimitThatIsUsedUpForSeconds(t *testing.T) {
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
