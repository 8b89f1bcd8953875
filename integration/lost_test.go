//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// pullAll has clients pull images, two of them each, and what is cached. All of it
// has to succeed, or where busy allows that, be refused by a gateway in need.
func pullAll(t *testing.T, r *recorder, images *catalog, first, clients int, cached sample, busy bool) {
	t.Helper()
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for _, a := range append([]answer{r.pull(t.Context(), images.image(first+client/2))}, getAll(t.Context(), r, cached)...) {
				if !a.right() && (!busy || a.status < http.StatusInternalServerError && a.status != 0) {
					t.Errorf("%s: %v", a.outcome, a.err)
				}
			}
		})
	}
	all.Wait()
}

func getAll(ctx context.Context, r *recorder, s sample) (all []answer) {
	for _, o := range s {
		all = append(all, r.get(ctx, o))
	}
	return all
}

// allHits returns an error unless everything of an image is a hit.
func allHits(ctx context.Context, r *recorder, s sample) error {
	r.pull(ctx, s)
	for n, a := range getAll(ctx, r, s) {
		if !a.hit() {
			return fmt.Errorf("%s: %s: %w", s[n].path, a.outcome, a.err)
		}
	}
	return nil
}

// TestDirectoryRemoved removes the directory of the store under load, and starts
// the gateway again: it begins with an empty one.
func TestDirectoryRemoved(t *testing.T) {
	for _, what := range []string{"", "blobs", "ingest", "meta"} {
		t.Run("store/"+what, func(t *testing.T) {
			t.Parallel()
			images := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "removed.example", seed: testenv.Seed(t)}
			s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h")})
			s.start(t)
			r := newRecorder(t, s.url())
			var load sync.WaitGroup
			load.Go(func() { pullAll(t, r, images, 1, 20, images.image(0), false) })
			time.Sleep(20 * time.Millisecond)
			for os.RemoveAll(filepath.Join(s.store, what)) != nil {
				// Something was made meanwhile.
			}
			load.Wait()
			pullAll(t, r, images, 50, 4, images.image(0), false)
			s.stop(t)
			s.start(t)
			s.await(t, func() error { return allHits(t.Context(), r, images.image(0)) })
			s.stop(t)
			checkStore(t, s.store)
			t.Log(r.summary())
		})
	}
}

// TestReadOnly starts the gateway on a file system that nobody may write to: it serves
// what it has without the upstream, passes the rest through, and caches once it may
// write.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	images := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "readonly.example", seed: testenv.Seed(t)}
	v := newVolume(t, 512<<20)
	s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h"), store: filepath.Join(v.dir, "store")})
	s.start(t)
	r := newRecorder(t, s.url())
	s.await(t, func() error { return allHits(t.Context(), r, images.image(0)) })
	s.stop(t)
	run(t, nil, "mount", "-o", "remount,ro", v.dir)
	s.start(t)
	cached := images.image(0)
	images.server.Reset()
	if err := allHits(t.Context(), r, cached); err != nil {
		t.Error(err)
	}
	images.server.Refuse()
	if err := allHits(t.Context(), r, cached); err != nil {
		t.Errorf("while the upstream is down: %v", err)
	}
	if err := images.server.Accept(); err != nil {
		t.Fatal(err)
	}
	if requests := images.server.Requests(); len(requests) > 0 {
		t.Errorf("the upstream was asked for what is cached: %v", requests)
	}
	pullAll(t, r, images, 1, 20, cached, false)
	run(t, nil, "mount", "-o", "remount,rw", v.dir)
	resumed := s.await(t, func() error { time.Sleep(20 * time.Millisecond); return allHits(t.Context(), r, images.image(100)) })
	s.stop(t)
	checkStore(t, s.store)
	t.Logf("caching resumed after %v; %s", resumed.Round(time.Millisecond), r.summary())
	if resumed > 10*time.Second {
		t.Errorf("caching resumed after %v, want 10 s at most", resumed)
	}
}

// TestDiskFails makes the file system read-only as a failing disk does, which
// only a new mount undoes.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	images := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "failing.example", seed: testenv.Seed(t)}
	v := newVolume(t, 512<<20)
	s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h"), store: filepath.Join(v.dir, "store")})
	s.start(t)
	r := newRecorder(t, s.url())
	s.await(t, func() error { return allHits(t.Context(), r, images.image(0)) })
	var load sync.WaitGroup
	load.Go(func() { pullAll(t, r, images, 1, 20, images.image(0), false) })
	time.Sleep(20 * time.Millisecond)
	run(t, nil, "mount", "-o", "remount,abort", v.dir)
	load.Wait()
	pullAll(t, r, images, 50, 10, images.image(0), false)
	select {
	case <-s.ended:
		t.Fatalf("the gateway has ended: %s", s.lastWords())
	default:
	}
	s.stop(t)
	v.unmount()
	repaired := mountVolume(t, v.image)
	s.store = filepath.Join(repaired.dir, "store")
	writeFile(t, s.caddyfile(), s.config)
	s.start(t)
	s.await(t, func() error { return allHits(t.Context(), r, images.image(0)) })
	s.stop(t)
	checkStore(t, s.store)
	t.Log(r.summary())
}

// TestFewDescriptors lets many clients pull from a gateway that may open few
// files: some may be refused, nobody gets wrong bytes, nothing leaks, and as soon as
// there are less of them all works.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	const limit, clients = 128, 200
	images := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "few.example", seed: testenv.Seed(t)}
	s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h")})
	s.start(t)
	r := newRecorder(t, s.url())
	r.client.Transport.(repeating).MaxIdleConnsPerHost = 8 // what is idle holds a descriptor
	s.await(t, func() error { return allHits(t.Context(), r, images.image(0)) })
	before := len(names(t, fmt.Sprintf("/proc/%d/fd", s.pid(t))))
	if err := unix.Prlimit(s.pid(t), syscall.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	pullAll(t, r, images, 1, clients, images.image(0), true)
	r.client.CloseIdleConnections()
	resumed := s.await(t, func() error { return allHits(t.Context(), r, images.image(500)) })
	s.idle(t)
	r.client.CloseIdleConnections()
	s.await(t, func() error {
		if now := len(names(t, fmt.Sprintf("/proc/%d/fd", s.pid(t)))); now > before+16 {
			return fmt.Errorf("%d descriptors, %d before", now, before)
		}
		return nil
	})
	s.stop(t)
	checkStore(t, s.store)
	t.Logf("all right again after %v; %s", resumed.Round(time.Millisecond), r.summary())
}
