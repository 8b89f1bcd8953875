package mirror_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// answerOf is how long a request took, and what came of it.
type answerOf struct {
	took   time.Duration
	status oci.CacheStatus
	err    error
}

func (f *fixture) timed(r oci.Request) answerOf {
	began := time.Now()
	a := answerOf{}
	if r.Kind == oci.KindBlob {
		_, a.status, a.err = f.pull(f.t.Context(), r)
	} else {
		_, a.status, a.err = f.mirror.Manifest(f.t.Context(), r)
	}
	a.took = time.Since(began)
	return a
}

// timedTogether asks for the same several times at once.
func (f *fixture) timedTogether(r oci.Request, n int) []answerOf {
	answers := make([]answerOf, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = f.timed(r) })
	}
	all.Wait()
	return answers
}

// TestWhoWaits: nobody waits for longer than is configured for an upstream that gives no
// answer, and most wait for nothing. The clock is one on which work takes no time, so that
// the bounds hold to the nanosecond, on any machine.
func TestWhoWaits(t *testing.T) {
	t.Parallel()
	// waiting is a mirror of an image that was pulled, whose tag is asked for each time.
	waiting := func(t *testing.T, o upstream.Options) (*fixture, registrytest.Image) {
		f := newFixture(t)
		f.clock.run()
		f.policy.TagTTL = 0
		f.connect(o)
		image := f.upstream.PutImage(repository, "3", 1, 1000, 2*mib)
		f.pullImage(repository, image)
		if a := f.timed(manifestRequest("3")); a.err != nil {
			t.Fatal(a.err)
		}
		f.upstream.Reset()
		return f, image
	}
	stale := func(t *testing.T, a answerOf, took time.Duration, detail string) {
		t.Helper()
		if a.err != nil || a.status.Result != oci.ResultStale || a.status.Detail != detail || a.took != took {
			t.Errorf("%+v, %v after %s, want %s after %s", a.status, a.err, a.took, detail, took)
		}
	}
	t.Run("refused connections", bubble(func(t *testing.T) {
		f, image := waiting(t, upstream.Options{})
		f.upstream.Refuse()
		for range 3 {
			stale(t, f.timed(manifestRequest("3")), 0, "connect")
		}
		for _, b := range image.Platforms[0].Layers {
			if a := f.timed(blobRequest(b.Digest)); a.err != nil || a.status.Result != oci.ResultHit || a.took != 0 {
				t.Errorf("%+v", a)
			}
		}
		if a := f.timed(manifestRequest("none")); a.took != 0 {
			t.Errorf("what is not here: %+v", a)
		}
	}))
	for name, timeout := range map[string]time.Duration{"silence": 0, "silence, less patience": 700 * time.Millisecond} {
		t.Run(name, bubble(func(t *testing.T) {
			f, _ := waiting(t, upstream.Options{})
			f.policy.StaleTimeout = timeout
			f.configure()
			f.upstream.Hook(silence)
			if timeout == 0 {
				timeout = 3 * time.Second
			}
			stale(t, f.timed(manifestRequest("3")), timeout, "timeout")
			for _, a := range f.timedTogether(manifestRequest("3"), 200) {
				stale(t, a, 0, "timeout")
			}
			time.Sleep(10 * time.Second) // it is asked again, and still not waited for
			for _, a := range f.timedTogether(manifestRequest("3"), 200) {
				stale(t, a, 0, "timeout")
			}
			if n := f.upstream.Count(http.MethodHead, "manifests"); n > 4 { // twice each time, on a connection that may be lost
				t.Errorf("%d HEADs", n)
			}
		}))
	}
	t.Run("silence, and nothing is cached", bubble(func(t *testing.T) {
		const tries = 1500 * time.Millisecond
		f := newFixture(t)
		f.clock.run()
		f.policy.Timeout = tries + 250*time.Millisecond
		f.connect(upstream.Options{Timeouts: upstream.Timeouts{Operation: tries}, MaxFails: -1})
		d := f.upstream.PutBlob(repository, registrytest.Random(1, 1000))
		f.upstream.PutImage("library/other", "3", 1, 10)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if !strings.Contains(r.URL.Path, "/library/other/") { // which stands for another upstream
				silence(w, r, next)
				return
			}
			next(w, r)
		})
		for _, r := range []oci.Request{manifestRequest("3"), manifestRequest(d.String()), blobRequest(d)} {
			a := f.timed(r)
			if wantStatus(t, a.err, http.StatusGatewayTimeout); a.took != tries {
				t.Errorf("%s: after %s, want %s", r.Reference, a.took, tries)
			}
		}
		var pending sync.WaitGroup
		for i := range 50 {
			pending.Go(func() {
				if a := f.timed(manifestRequest(fmt.Sprint("cold", i))); a.err == nil || a.took > tries {
					t.Errorf("%+v", a)
				}
			})
		}
		time.Sleep(tries / 2)
		other := manifestRequest("3")
		other.Upstream, other.Repository = "ghcr.io", "library/other"
		if a := f.timed(other); a.err != nil || a.took != 0 {
			t.Errorf("another upstream: %+v", a)
		}
		pending.Wait()
	}))
}

// TestBlobsThatTakeLong: a registry that fetches each blob as a whole before it sends the
// first byte, thirteen seconds here, is waited for, and others of it are not.
func TestBlobsThatTakeLong(t *testing.T) { bubble(testBlobsThatTakeLong)(t) }

func testBlobsThatTakeLong(t *testing.T) {
	const before = 13 * time.Second
	f := newFixture(t)
	f.clock.run()
	f.policy.LookAhead, f.policy.Parallel = 6, 4
	c := f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 2*mib, mib, 3*mib, 1000, 900<<10, 100<<10).Platforms[0]
	healthy := f.upstream.PutImage("library/healthy", "0", 2, 10)
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String())); err != nil {
		t.Fatal(err)
	}
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) {
			select {
			case <-time.After(before):
			case <-r.Context().Done():
				return
			}
		}
		next(w, r)
	})
	var pulls sync.WaitGroup
	for _, b := range append(image.Layers, image.Config) {
		pulls.Go(func() {
			raw, _, err := f.pull(t.Context(), blobRequest(b.Digest))
			if err != nil || oci.Sum(raw) != b.Digest {
				t.Errorf("%d bytes of %d, %v", len(raw), b.Size, err)
			}
		})
	}
	for n := range 20 { // cold manifests of another repository
		time.Sleep(time.Second)
		name := fmt.Sprint("tag", n)
		f.upstream.PutTag("library/healthy", name, healthy.Index.Digest)
		if a := f.timed(of("library/healthy", manifestRequest(name))); a.err != nil || a.took != 0 {
			t.Errorf("after %d s: %+v", n+1, a)
		}
	}
	pulls.Wait()
	if b := c.Breakers()[0]; b.Open || b.Fails != 0 {
		t.Errorf("%+v", b)
	}
}

// TestManifestsThatTakeLong: a registry that fetches the whole image before it answers for
// its manifest, to HEAD and GET alike, is waited for as long as is configured.
func TestManifestsThatTakeLong(t *testing.T) {
	t.Parallel()
	for patience, ready := range map[time.Duration]bool{30 * time.Second: true, 0: false} {
		t.Run(fmt.Sprintf("response_header_timeout %s", patience), bubble(func(t *testing.T) {
			const fetching = 20 * time.Second
			f := newFixture(t)
			f.clock.run()
			timeouts := upstream.Timeouts{Header: patience}.WithDefaults()
			f.policy.Timeout = timeouts.Operation + 250*time.Millisecond
			f.connect(upstream.Options{Timeouts: timeouts})
			image := f.upstream.PutImage(repository, "3", 1, 10)
			began := time.Now()
			f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				select {
				case <-time.After(time.Until(began.Add(fetching))):
					next(w, r)
				case <-r.Context().Done():
				}
			})
			a := f.timed(manifestRequest("3"))
			if !ready {
				if wantStatus(t, a.err, http.StatusGatewayTimeout); a.took > 10*time.Second {
					t.Errorf("%+v", a)
				}
				time.Sleep(fetching) // who comes again finds it there
				a = f.timed(manifestRequest("3"))
				a.took += fetching
			}
			if a.err != nil || a.took != fetching {
				t.Errorf("%+v", a)
			}
			f.wantManifest(image.Index.Digest.String(), image.IndexBytes)
		}))
	}
}
