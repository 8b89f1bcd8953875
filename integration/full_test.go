//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// volumeKind is a kind of file system that is filled.
type volumeKind struct {
	name string
	make func(*testing.T) *volume
	take func(dir string, n int) error
}

var volumeKinds = []volumeKind{
	{"tmpfs", func(t *testing.T) *volume { return newTmpfs(t, "size=512m") }, takeSpace},
	{"ext4", func(t *testing.T) *volume {
		v := newVolume(t, 512<<20)
		if !long() {
			// What is removed is free after the next commit of the journal, 5 s if not told.
			run(t, nil, "mount", "-o", "remount,commit=1", v.dir)
		}
		return v
	}, takeSpace},
	{"inodes", func(t *testing.T) *volume { return newTmpfs(t, "size=512m,nr_inodes=1500") }, takeInodes},
}

// TestFullDisk has another process fill the disk to the last byte, and keep it
// full, while 50 clients pull: nobody notices, and once there is space again
// everything is cached as before.
func TestFullDisk(t *testing.T) {
	for _, kind := range volumeKinds {
		t.Run(kind.name, func(t *testing.T) {
			rounds := 2
			if long() {
				rounds = 100
			} else {
				t.Parallel()
			}
			newFullDisk(t, kind).run(t, rounds)
		})
	}
}

const fullClients, fullImages = 50, 25

// fullDisk is a gateway on a volume that gets full.
type fullDisk struct {
	volumeKind
	volume *volume
	random *rand.Rand
	images *catalog
	next   int // image that nobody has asked for
	s      *subject
	r      *recorder

	hits, asked int // of what was cached, on the full disk
}

func newFullDisk(t *testing.T, kind volumeKind) *fullDisk {
	t.Helper()
	seed := testenv.Seed(t)
	f := &fullDisk{volumeKind: kind, volume: kind.make(t), random: rand.New(rand.NewPCG(seed, 2))}
	f.images = &catalog{
		server: registrytest.New(t, registrytest.Options{}), upstream: "full.example", seed: seed, padding: 64 << 10,
		sizes: func(r *rand.Rand) []int { return []int{1 + r.IntN(64<<10), 1 + r.IntN(1<<20), 1<<20 + r.IntN(1<<20)} },
	}
	f.s = newSubject(t, subjectOptions{site: f.images.caddyfile("tag_ttl 1h"), store: filepath.Join(f.volume.dir, "store")})
	f.s.start(t)
	f.r = newRecorder(t, f.s.url())
	return f
}

// image returns an image that nobody has asked for.
func (f *fullDisk) image() sample {
	f.next++
	return f.images.image(f.next)
}

func (f *fullDisk) run(t *testing.T, rounds int) {
	var failed int
	var worst time.Duration
	for round := range rounds {
		base := f.image()
		f.cached(t, base)
		n, took := f.round(t, round, base)
		failed += n
		worst = max(worst, took)
	}
	f.s.stop(t)
	files := checkStore(t, f.s.store)
	t.Logf("%s: %d rounds of %d pulls: %d failed, no death, caching resumed after %v at the latest",
		f.name, rounds, fullClients, failed, worst.Round(time.Millisecond))
	t.Logf("%s: %d hits while the disk was full, the rest of %d had been evicted; %d blobs verify; %s",
		f.name, f.hits, f.asked, files.blobs, f.r.summary())
	if f.hits == 0 {
		t.Error("nothing was a hit while the disk was full")
	}
	if worst > 10*time.Second {
		t.Errorf("caching resumed after %v, want 10 s at most", worst)
	}
}

// round fills the disk at a random moment of 50 pulls, when base is cached. It
// returns how many of them failed, and how long it took until something was cached
// again.
func (f *fullDisk) round(t *testing.T, round int, base sample) (failed int, resumed time.Duration) {
	t.Helper()
	images := make([]sample, fullImages)
	for n := range images {
		images[n] = f.image()
	}
	var pulls sync.WaitGroup
	results := make(chan answer, fullClients)
	for client := range fullClients {
		// Two want the same, and not all at once.
		delay := time.Duration(f.random.Int64N(int64(300 * time.Millisecond)))
		pulls.Go(func() {
			time.Sleep(delay)
			results <- f.r.pull(t.Context(), images[client%fullImages])
		})
	}
	after := time.Duration(f.random.Int64N(int64(300 * time.Millisecond)))
	time.Sleep(after)
	h := letHog(t, f.volume, f.take)
	<-h.full
	for _, o := range base {
		a := f.r.get(t.Context(), o)
		if f.asked++; a.hit() {
			f.hits++
		} else if !a.right() {
			failed++
			t.Errorf("round %d, filled after %v: cached: %s: %s: %v", round, after, o.path, a.outcome, a.err)
		}
	}
	late := f.r.pull(t.Context(), f.image()) // all of it on the full disk
	pulls.Wait()
	close(results)
	for a := range results {
		if !a.right() {
			failed++
			t.Errorf("round %d, filled after %v: %s: %v", round, after, a.outcome, a.err)
		}
	}
	if !late.right() {
		failed++
		t.Errorf("round %d: on the full disk: %s: %v", round, late.outcome, late.err)
	}
	f.alive(t, fmt.Sprintf("round %d, filled after %v", round, after))
	h.letGo()
	return failed, f.resumed(t)
}

// resumed waits until an image is cached, all of it.
func (f *fullDisk) resumed(t *testing.T) time.Duration {
	t.Helper()
	return f.s.await(t, func() error {
		time.Sleep(20 * time.Millisecond) // what is asked for meanwhile takes space, too
		image := f.image()
		if a := f.r.pull(t.Context(), image); !a.right() {
			t.Errorf("after space returned: %s: %v", a.outcome, a.err)
		}
		for _, o := range image {
			if a := f.r.get(t.Context(), o); !a.hit() {
				return fmt.Errorf("%s: %s", o.path, a.outcome)
			}
		}
		return nil
	})
}

// cached pulls an image and expects it to be cached.
func (f *fullDisk) cached(t *testing.T, image sample) {
	t.Helper()
	f.r.pull(t.Context(), image)
	f.s.idle(t)
	for _, o := range image {
		if a := f.r.get(t.Context(), o); !a.hit() {
			t.Fatalf("%s is not cached: %s %v", o.path, a.outcome, a.err)
		}
	}
}

func (f *fullDisk) alive(t *testing.T, when string) {
	t.Helper()
	select {
	case <-f.s.ended:
		t.Fatalf("%s: the gateway has ended: %s", when, f.s.lastWords())
	default:
	}
}
