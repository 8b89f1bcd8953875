package storage

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Each upstream keeps to its own limit, and loses its oldest.
func TestUpstreamLimits(t *testing.T) {
	t.Parallel()
	c, log := newClock(), newMessages()
	s := openTest(t, Options{Now: c.now, Logger: slog.New(log)})
	var ds []digest.Digest
	for k, upstream := range []string{"docker.io", "ghcr.io", "docker.io#01", "ghcr.io", "docker.io", "quay.io"} {
		b, d := content(uint64(k), 1000)
		putBlobOf(t, s, upstream, b)
		ds = append(ds, d)
		c.move(time.Hour)
	}
	s.SetLimits(Limits{Upstreams: map[string]int64{"docker.io": 1500, "ghcr.io": 5000}})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, true, false, true, true, true)
	wantUpstreams(t, s, map[string]int64{"docker.io": 1000, "ghcr.io": 2000, "quay.io": 1000})
	// What one of them loses counts for all.
	s.SetLimits(Limits{MaxSize: 2600, Upstreams: map[string]int64{"docker.io": 500}})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, false, false, true, false, true)
	_, err := s.Part(t.Context(), oci.Scope{Upstream: "docker.io", Repository: "r"}, ds[0], 501)
	wantErr(t, "part", err, ErrNoSpace)
}

// However many are stored at once, the limits hold at every moment.
func TestLimitsAreHard(t *testing.T) {
	t.Parallel()
	const most, size = 100_000, 10_000
	s := openTest(t, Options{Limits: Limits{MaxSize: most, Upstreams: map[string]int64{"ghcr.io": most / 4}}})
	done := make(chan struct{})
	var watching, storing sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if u := s.Usage(); u.BlobBytes > most || u.Upstreams["ghcr.io"] > most/4 {
				t.Errorf("usage is %+v", u)
				return
			}
		}
	})
	for k := range 8 {
		storing.Go(func() {
			for n := range 20 {
				b, _ := content(uint64(1000*k+n), size)
				putBlobOf(t, s, []string{"docker.io", "ghcr.io"}[k%2], b)
			}
		})
	}
	storing.Wait()
	close(done)
	watching.Wait()
	if u := s.Usage(); u.EvictedBlobs < 8*20-most/size || u.FillBytes != 0 {
		t.Errorf("usage is %+v", u)
	}
}

// What is merely asked for evicts nothing, and what has begun to come no more than a
// quarter before it is there.
func TestAnnouncedBytesEvictLittle(t *testing.T) {
	t.Parallel()
	s, _, log, ds := evictable(t, 8)
	s.SetLimits(Limits{MaxSize: 8200})
	_, d := content(99, 1)
	p := beginPart(t, s, d, 8000)
	s.keeper.eviction.Pass(t.Context())
	wantBlobs(t, s, ds, true, true, true, true, true, true, true, true)
	if _, err := p.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, false, true, true, true, true, true, true)
	if u := s.Usage(); u.FillBytes != 8000 {
		t.Errorf("usage is %+v", u)
	}
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	// One of unknown size takes what it has become.
	b, d := content(100, 3000)
	p = beginPart(t, s, d, -1)
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if u := s.Usage(); u.FillBytes != 3000 {
		t.Errorf("usage is %+v", u)
	}
	if err := p.Commit(3000); err != nil {
		t.Fatal(err)
	}
	if u := s.Usage(); u.BlobBytes > 8200 {
		t.Errorf("usage is %+v", u)
	}
}

// Where nothing can go, a finished blob is not kept; nobody waits for long.
func TestNoWayForABlob(t *testing.T) {
	t.Parallel()
	s, _, _, ds := evictable(t, 3)
	for _, d := range ds {
		f, _, err := s.OpenBlob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	s.SetLimits(Limits{MaxSize: 3500})
	b, d := content(99, 1000)
	p := beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "commit", p.Commit(1000), ErrNoSpace)
	wantIngest(t, s, 0)
	wantBlobs(t, s, append(ds, d), true, true, true, false)
}

// A clock that jumps, or that was far away when the store was last open, makes
// nothing old for a day.
func TestClockInDoubt(t *testing.T) {
	t.Parallel()
	var up time.Duration
	c := newClock()
	s := openTest(t, Options{Now: c.now, seams: seams{uptime: func() time.Duration { return up }}})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	sleep := func(by time.Duration) {
		up += by
		c.move(by)
	}
	limits := &Limits{MaxUnused: 90 * 24 * time.Hour}
	s.limits.Store(limits)
	want := func(s *Store, want bool) {
		t.Helper()
		s.keeper.eviction.Pass(t.Context())
		wantBlobs(t, s, []digest.Digest{d}, want)
	}
	c.move(365 * 24 * time.Hour)
	want(s, true)
	sleep(23 * time.Hour)
	want(s, true)
	c.move(-2 * time.Hour)
	sleep(2 * time.Hour)
	want(s, true)
	sleep(23*time.Hour + time.Minute)
	want(s, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.move(31 * 24 * time.Hour)
	up = 0
	s = openTest(t, Options{Path: s.home.path, Now: c.now, seams: seams{uptime: func() time.Duration { return up }}})
	s.limits.Store(limits)
	for !s.Usage().Counted {
		time.Sleep(time.Millisecond)
	}
	want(s, true)
	sleep(24*time.Hour + time.Minute)
	want(s, false)
}
