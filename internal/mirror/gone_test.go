package mirror_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
	"github.com/pullgate/pullgate/storage"
)

// deleted is an image that was pulled, and whose tag the upstream deletes then.
func deleted(t *testing.T, change func(*mirror.Upstream)) (*fixture, registrytest.Image) {
	f := newFixture(t)
	change(&f.policy)
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 10)
	f.wantManifest("3", image.IndexBytes)
	f.upstream.DeleteTag(repository, "3")
	f.clock.advance(ttl)
	return f, image
}

func (f *fixture) wantGone() {
	f.t.Helper()
	_, _, err := f.mirror.Manifest(f.t.Context(), manifestRequest("3"))
	wantStatus(f.t, err, http.StatusNotFound)
}

func (f *fixture) wantStale(image registrytest.Image) {
	f.t.Helper()
	m, status, err := f.mirror.Manifest(f.t.Context(), manifestRequest("3"))
	if err != nil || m.Digest != image.Index.Digest || status.Result != oci.ResultStale {
		f.t.Errorf("%v, %v", status, err)
	}
}

// One 404 may be the trouble of somebody behind the upstream. It is passed on, but
// what the tag meant serves once the upstream is down.
func TestOne404ForgetsNothing(t *testing.T) {
	t.Parallel()
	f, image := deleted(t, func(*mirror.Upstream) {})
	f.wantGone()
	f.clock.advance(11 * time.Second) // the 404 is no more remembered
	f.upstream.Refuse()
	f.wantStale(image)
}

// One that the upstream keeps to is believed.
func TestLasting404Forgets(t *testing.T) {
	t.Parallel()
	f, _ := deleted(t, func(*mirror.Upstream) {})
	for range 4 {
		f.wantGone()
		f.clock.advance(11 * time.Second)
	}
	f.upstream.Refuse()
	_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
	wantStatus(t, err, http.StatusBadGateway)
}

// A tag that comes back is one that was never gone.
func TestTagThatComesBack(t *testing.T) {
	t.Parallel()
	f, image := deleted(t, func(*mirror.Upstream) {})
	f.wantGone()
	f.upstream.PutImage(repository, "3", 1, 10)
	f.clock.advance(11 * time.Second)
	f.wantManifest("3", image.IndexBytes)
	f.upstream.DeleteTag(repository, "3")
	f.clock.advance(ttl)
	f.wantGone()
	f.clock.advance(11 * time.Second)
	f.upstream.Refuse()
	f.wantStale(image)
}

// What the upstream has deleted is served for as long as the option says, and always
// if it is pinned.
func TestStaleIfGone(t *testing.T) {
	t.Parallel()
	pin, err := oci.ParsePin("docker.io/alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("for a while", func(t *testing.T) {
		f, image := deleted(t, func(u *mirror.Upstream) { u.StaleIfGone = time.Hour })
		var log bytes.Buffer
		f.log = slog.NewTextHandler(&log, nil)
		f.reopen()
		for range 59 {
			f.wantStale(image)
			f.clock.advance(time.Minute)
		}
		if told := strings.Count(log.String(), "level=WARN"); told != 1 || !strings.Contains(log.String(), "upstream has deleted a tag") {
			t.Errorf("it is told %d times, want once: %s", told, &log)
		}
		if n := f.upstream.Count("HEAD", "manifests"); n < 50 {
			t.Errorf("it was looked for %d times", n)
		}
		f.clock.advance(2 * time.Minute)
		f.wantGone()
		f.clock.advance(11 * time.Second)
		f.upstream.Refuse()
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		wantStatus(t, err, http.StatusBadGateway)
	})
	t.Run("pinned", func(t *testing.T) {
		f, image := deleted(t, func(*mirror.Upstream) {})
		f.store.SetLimits(storage.Limits{Pins: []oci.Pin{pin}})
		for range 10 {
			f.wantStale(image)
			f.clock.advance(30 * 24 * time.Hour)
		}
	})
	t.Run("never", func(t *testing.T) {
		f, _ := deleted(t, func(u *mirror.Upstream) { u.StaleIfGone = -1 })
		if _, err := f.store.Pin(t.Context(), pin); err != nil {
			t.Fatal(err)
		}
		f.wantGone()
	})
}

// The silence of one repository makes nobody else's answers stale.
func TestSilenceOfOneRepository(t *testing.T) { bubble(testSilenceOfOneRepository)(t) }

func testSilenceOfOneRepository(t *testing.T) {
	f := newFixture(t)
	f.policy.StaleTimeout = 100 * time.Millisecond
	f.connect(upstream.Options{})
	sick := f.upstream.PutImage(repository, "3", 1, 10)
	f.upstream.PutImage("library/healthy", "3", 2, 10)
	healthy := manifestRequest("3")
	healthy.Repository = "library/healthy"
	ask := func(r oci.Request) oci.Result {
		t.Helper()
		_, status, err := f.mirror.Manifest(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return status.Result
	}
	ask(manifestRequest("3"))
	ask(healthy)
	done := make(chan struct{})
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path == "/v2/"+repository+"/manifests/3" {
			select {
			case <-done:
			case <-r.Context().Done():
			}
		}
		next(w, r)
	})
	defer close(done)
	for range 3 {
		f.clock.advance(ttl - 10*time.Second)
		if got := ask(healthy); got == oci.ResultStale {
			t.Error("the healthy one is stale")
		}
		f.clock.advance(10 * time.Second)
		f.wantStale(sick)
		if got := ask(healthy); got == oci.ResultStale {
			t.Error("the healthy one is stale after the sick one was asked")
		}
	}
}
