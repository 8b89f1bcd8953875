package mirror_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// connect makes docker.io ask through a real client.
func (f *fixture) connect(o upstream.Options) *upstream.Client {
	f.t.Helper()
	at, err := url.Parse(f.upstream.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	o.Name, o.URLs = upstreamName, []*url.URL{at}
	o.DialContext = f.dial()
	if o.Now == nil {
		o.Now = f.clock.Now
	}
	c, err := upstream.New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	f.policy.Remote = c
	f.configure()
	return c
}

func silence(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() }

// The first who has an old answer waits for a silent upstream, the others do
// not: it is asked behind their backs, until it answers.
func TestOnlyTheFirstWaits(t *testing.T) { bubble(testOnlyTheFirstWaits)(t) }

func testOnlyTheFirstWaits(t *testing.T) {
	f := newFixture(t)
	old := f.upstream.PutImage(repository, "3", 1, 10)
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
		t.Fatal(err)
	}
	f.policy.StaleTimeout, f.policy.Timeout = 100*time.Millisecond, 200*time.Millisecond
	f.configure()
	f.clock.advance(ttl)
	f.upstream.Reset()
	f.upstream.Hook(silence)
	ask := func() (time.Duration, oci.CacheStatus) {
		began := time.Now()
		m, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err != nil || m.Digest != old.Index.Digest {
			t.Fatalf("got %s, %v", m.Digest, err)
		}
		return time.Since(began), status
	}
	if took, status := ask(); took < 100*time.Millisecond || status.Result != oci.ResultStale {
		t.Errorf("%v after %s", status, took)
	}
	for range 5 {
		f.clock.advance(5 * time.Second)
		for range 100 {
			if took, status := ask(); took > 90*time.Millisecond || status.Result != oci.ResultStale || status.Detail != "timeout" {
				t.Fatalf("%v after %s", status, took)
			}
		}
		for f.cache.Stats().LookUps > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if n := len(f.upstream.Requests()); n != 6 {
		t.Errorf("%d requests, want one each 5 s", n)
	}
	moved := f.upstream.PutImage(repository, "3", 2, 10)
	f.upstream.Hook(nil)
	f.clock.advance(5 * time.Second)
	if _, status := ask(); status.Result != oci.ResultStale {
		t.Errorf("%v", status)
	}
	for f.cache.Stats().LookUps > 0 {
		time.Sleep(time.Millisecond)
	}
	m, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
	if err != nil || m.Digest != moved.Index.Digest || status.Result == oci.ResultStale {
		t.Errorf("after the silence: %s, %v, %v", m.Digest, status, err)
	}
}

// An open breaker: what is cached does not notice, what is not is refused at once.
func TestOpenBreaker(t *testing.T) { bubble(testOpenBreaker)(t) }

func testOpenBreaker(t *testing.T) {
	f := newFixture(t)
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 10)
	f.pullImage(repository, image)
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(ttl)
	f.upstream.Reset()
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	for i := 0; len(f.upstream.Requests()) < 5; i++ {
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest(fmt.Sprint("cold", i)))
		wantStatus(t, err, http.StatusBadGateway)
	}
	for i := range 300 {
		_, status, err := f.mirror.Manifest(t.Context(), manifestRequest(fmt.Sprint("colder", i)))
		e := oci.AsError(err)
		if e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 || !strings.Contains(err.Error(), upstreamName) {
			t.Fatalf("%+v", e)
		}
		if want := "pullgate; fwd=miss; detail=breaker"; status.String() != want {
			t.Fatalf("%q, want %q", status, want)
		}
		_, _, err = f.mirror.Blob(t.Context(), blobRequest(oci.Sum(fmt.Append(nil, i))))
		wantStatus(t, err, http.StatusServiceUnavailable)
		_, status, err = f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if want := "pullgate; hit; ttl=0; detail=stale"; err != nil || status.String() != want || status.Detail != "breaker" {
			t.Fatalf("%q, %v, want %q", status, err, want)
		}
	}
	f.pullImage(repository, image)
	if n := len(f.upstream.Requests()); n != 7 {
		t.Errorf("%d requests, want a HEAD, 5 GETs and a ping", n)
	}
	// The probe is sent behind the back of who has an old answer.
	f.upstream.Hook(nil)
	f.clock.advance(6 * time.Second)
	if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || status.Result != oci.ResultStale {
		t.Errorf("%v, %v", status, err)
	}
	for f.cache.Stats().LookUps > 0 {
		time.Sleep(time.Millisecond)
	}
	if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || status.Result != oci.ResultHit {
		t.Errorf("%v, %v", status, err)
	}
}

// Credentials that are revoked stop no pull of what is known by digest, nor one
// by tag for a while.
func TestDeniedIsForgivenForAWhile(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{time.Hour, 0} {
		f := newFixture(t)
		f.policy.StaleIfDenied = limit
		f.connect(upstream.Options{})
		image := f.upstream.PutImage(repository, "3", 1, 10)
		f.pullImage(repository, image)
		get := func() (oci.CacheStatus, error) {
			_, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
			return status, err
		}
		if _, err := get(); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(ttl)
		f.upstream.Hook(answer(http.StatusUnauthorized))
		for age := time.Duration(0); age < limit; age += 10 * time.Minute {
			if status, err := get(); err != nil || status.Result != oci.ResultStale || status.Detail != "denied" || status.ForwardStatus != 401 {
				t.Fatalf("after %s: %v, %v", age, status, err)
			}
			f.clock.advance(10 * time.Minute)
		}
		for range 3 {
			status, err := get()
			wantStatus(t, err, http.StatusForbidden)
			if e := oci.AsError(err); e.Code != oci.CodeDenied || status.Result == oci.ResultStale {
				t.Errorf("%v, %v", status, err)
			}
		}
		for _, d := range []oci.Descriptor{image.Platforms[0].Config, image.Platforms[0].Layers[0]} {
			if _, _, err := f.pull(t.Context(), blobRequest(d.Digest)); err != nil {
				t.Error(err)
			}
		}
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Index.Digest.String())); err != nil {
			t.Error(err)
		}
		// A good answer ends the time, and the next denial begins it anew.
		f.upstream.Hook(nil)
		f.clock.advance(time.Minute)
		if status, err := get(); err != nil || status.Result != oci.ResultMiss {
			t.Errorf("%v, %v", status, err)
		}
		f.upstream.Hook(answer(http.StatusForbidden))
		f.clock.advance(ttl)
		if _, err := get(); (err == nil) != (limit > 0) {
			t.Errorf("limit %s: %v", limit, err)
		}
	}
}

// 1,000 nodes that repeat at once, five times, cost a registry that has refused
// one request no other.
func TestRateLimitIsAbsorbed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 2*mib)
	requests := map[string]func() error{
		"tag": func() error { _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); return err },
		"digest": func() error {
			_, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Index.Digest.String()))
			return err
		},
		"blob": func() error {
			_, _, err := f.mirror.Blob(t.Context(), blobRequest(image.Platforms[0].Layers[0].Digest))
			return err
		},
	}
	f.upstream.Hook(answer(http.StatusTooManyRequests))
	for name, request := range requests {
		f.upstream.Reset()
		var nodes sync.WaitGroup
		for range 1000 {
			nodes.Go(func() {
				for range 5 {
					if e := oci.AsError(request()); e == nil || e.Status != 429 || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
						t.Errorf("%s: %v", name, e)
					}
				}
			})
		}
		nodes.Wait()
		f.clock.advance(59 * time.Second)
		_ = request()
		if n := len(f.upstream.Requests()); n != 1 {
			t.Errorf("%s: %d requests, want 1", name, n)
		}
		f.clock.advance(2 * time.Second) // also of the others
	}
}

// One upstream's fills wait for each other, and for nobody else's.
func TestFillsAreBounded(t *testing.T) { bubble(testFillsAreBounded)(t) }

func testFillsAreBounded(t *testing.T) {
	f := newFixture(t)
	f.policy.MaxFills = 2
	f.connect(upstream.Options{})
	gate, open := registrytest.Hold(t)
	reached := make(chan struct{}, 100)
	var running, most atomic.Int32
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.Contains(r.URL.Path, repository) && isBlob(r) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			defer running.Add(-1)
			reached <- struct{}{}
			<-gate
		}
		next(w, r)
	})
	const blobs = 20
	var pulls sync.WaitGroup
	for i := range blobs {
		want := registrytest.Random(uint64(i), 1000)
		d := f.upstream.PutBlob(repository, want)
		pulls.Go(func() { f.mustPull(blobRequest(d), want, oci.ResultMiss) })
	}
	<-reached
	<-reached
	for f.cache.Stats().Queued < blobs-2 {
		time.Sleep(time.Millisecond)
	}
	other := registrytest.Random(99, 1000)
	d := f.upstream.PutBlob("other/repository", other)
	r := of("other/repository", blobRequest(d))
	r.Upstream = "ghcr.io"
	f.mustPull(r, other, oci.ResultMiss)
	open()
	pulls.Wait()
	if m := most.Load(); m > 2 {
		t.Errorf("%d fills at a time, want 2", m)
	}
	if n := f.cache.Stats().Queued; n != 0 {
		t.Errorf("%d fills still wait", n)
	}
}

// Fills that wait for their turn end with the Cache.
func TestQueuedFillsEndWithTheCache(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.MaxFills = 1
	f.connect(upstream.Options{})
	f.upstream.Hook(silence)
	var pulls sync.WaitGroup
	for i := range 10 {
		pulls.Go(func() {
			if _, _, err := f.mirror.Blob(t.Context(), blobRequest(oci.Sum(fmt.Append(nil, i)))); err == nil {
				t.Error("no error")
			}
		})
	}
	for f.cache.Stats().Queued < 9 {
		time.Sleep(time.Millisecond)
	}
	f.cache.Close()
	pulls.Wait()
	if n := f.cache.Stats().Queued; n != 0 {
		t.Errorf("%d fills still wait", n)
	}
}

// A download outlives an upstream that is away for longer than its breaker needs
// to open.
func TestFillOutlivesABreaker(t *testing.T) { bubble(testFillOutlivesABreaker)(t) }

func testFillOutlivesABreaker(t *testing.T) {
	f := newFixture(t)
	f.clock.run()
	c := f.connect(upstream.Options{FailDuration: 300 * time.Millisecond, MaxFails: 2, Now: time.Now})
	want := registrytest.Random(7, 3*mib)
	d := f.upstream.PutBlob(repository, want)
	var answers atomic.Int32
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		switch n := answers.Add(1); {
		case n == 1:
			next(&cut{ResponseWriter: w, left: 2 * mib}, r)
		case n < 5:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			next(w, r)
		}
	})
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	if b := c.Breakers()[0]; b.Open {
		t.Errorf("state %+v", b)
	}
	if n := answers.Load(); n > 6 {
		t.Errorf("%d requests", n)
	}
}

// What one Remote was refused, or waits for, is not that of another: a reload may bring
// other credentials.
func TestAnotherRemoteBeginsAnew(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		f := newFixture(t)
		f.upstream.PutImage(repository, "3", 1, 10)
		ask := func() error {
			_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
			return err
		}
		f.policy.RemoteID = "old"
		f.configure()
		f.upstream.Hook(answer(status))
		if err := ask(); err == nil {
			t.Fatalf("%d: no error", status)
		}
		f.upstream.Reset()
		f.upstream.Hook(nil)
		if err := ask(); err == nil || f.upstream.Count("", "") != 0 {
			t.Errorf("%d: it is not remembered: %v", status, err)
		}
		f.policy.RemoteID = "new"
		f.configure()
		if err := ask(); err != nil {
			t.Errorf("%d: it is remembered of another remote: %v", status, err)
		}
	}
	f := newFixture(t)
	f.upstream.PutImage(repository, "3", 1, 10)
	asked := make(chan struct{}, 10)
	f.upstream.Hook(func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	old, left := f.mirror, make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		defer close(left)
		_, _, _ = old.Manifest(ctx, manifestRequest("3"))
	}()
	<-asked
	f.upstream.Hook(nil)
	f.policy.RemoteID = "new"
	f.configure()
	if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3")); err != nil || status.Result != oci.ResultMiss {
		t.Errorf("beside a look-up of the old remote: %v, %v", status, err)
	}
	leave()
	<-left
}
