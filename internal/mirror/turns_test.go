package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// eventually waits for what there is no event for.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func from(client string, r oci.Request) oci.Request {
	r.Client = client
	return r
}

// held holds back what the upstream is asked for, until it is released, and counts
// how much of it there is at a time.
type held struct {
	mu      sync.Mutex
	n, most int
	open    chan struct{}
}

func (h *held) hook(only string) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.Contains(r.URL.Path, only) {
			h.mu.Lock()
			h.n++
			h.most = max(h.most, h.n)
			h.mu.Unlock()
			select {
			case <-h.open:
			case <-r.Context().Done():
			}
			h.mu.Lock()
			h.n--
			h.mu.Unlock()
		}
		next(w, r)
	}
}

func (h *held) count() (now, most int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n, h.most
}

// TestMissesOfOneClient lets one client ask for twelve things that are not cached,
// where it may have three under way: the rest waits, and nobody else does.
func TestMissesOfOneClient(t *testing.T) {
	t.Parallel()
	const limit, asked = 3, 12
	for _, kind := range []string{"manifests", "blobs"} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t)
			f.policy.MissesPerClient = limit
			f.configure()
			cached := f.upstream.PutBlob(repository, registrytest.Random(99, 1000))
			f.mustPull(blobRequest(cached), registrytest.Random(99, 1000), oci.ResultMiss)
			ask := make([]func(client string) error, asked+1)
			for i := range ask {
				if kind == "manifests" {
					tag := fmt.Sprint("t", i)
					f.upstream.PutImage(repository, tag, uint64(i), 100)
					ask[i] = func(client string) error {
						_, _, err := f.mirror.StatManifest(t.Context(), from(client, manifestRequest(tag)))
						return err
					}
					continue
				}
				content := registrytest.Random(uint64(i), 1000)
				d := f.upstream.PutBlob(repository, content)
				ask[i] = func(client string) error {
					_, _, err := f.pull(t.Context(), from(client, blobRequest(d)))
					return err
				}
			}
			h := &held{open: make(chan struct{})}
			f.upstream.Hook(h.hook("/" + kind + "/"))
			results := make(chan error, 2*asked)
			for i := range asked {
				go func() { results <- ask[i]("a") }()
			}
			under := func() int { n, _ := h.count(); return n }
			eventually(t, "three are asked for, and the others wait", func() bool { return f.cache.Turns() == asked && under() == limit })
			// What is cached takes no turn, nor does what another client has started.
			if _, _, err := f.pull(t.Context(), from("a", blobRequest(cached))); err != nil {
				t.Error(err)
			}
			go func() { results <- ask[asked]("b") }()
			eventually(t, "another client is not kept waiting", func() bool { return under() == limit+1 })
			go func() { results <- ask[asked]("a") }()
			// The same client at another upstream.
			other := from("a", manifestRequest("3"))
			other.Upstream = "ghcr.io"
			f.upstream.PutImage(repository, "3", 1000, 100)
			if kind == "blobs" {
				if _, _, err := f.mirror.StatManifest(t.Context(), other); err != nil {
					t.Error(err)
				}
			}
			if _, most := h.count(); most > limit+1 {
				t.Errorf("%d at a time, one client may have %d", most, limit)
			}
			close(h.open)
			for range asked + 2 {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			eventually(t, "all turns are over", func() bool { return f.cache.Turns() == 0 })
		})
	}
}

// TestClientThatWaitsTooLong is told that it asks for too much; one that leaves
// gives its place to the next.
func TestClientThatWaitsTooLong(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.MissesPerClient = 1
	f.configure()
	f.upstream.PutImage(repository, "3", 1, 100)
	h := &held{open: make(chan struct{})}
	f.upstream.Hook(h.hook("/manifests/"))
	first := make(chan error, 1)
	go func() {
		_, _, err := f.mirror.StatManifest(t.Context(), from("a", manifestRequest("3")))
		first <- err
	}()
	eventually(t, "the first is asked for", func() bool { n, _ := h.count(); return n == 1 })
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, err := f.mirror.StatManifest(ctx, from("a", manifestRequest("4")))
		gone <- err
	}()
	eventually(t, "the second waits", func() bool { return f.cache.Turns() == 2 })
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("left: %v", err)
	}
	f.cache.SetDeadlines(20*time.Millisecond, 20*time.Millisecond)
	_, _, err := f.mirror.StatManifest(t.Context(), from("a", manifestRequest("5")))
	wantStatus(t, err, http.StatusServiceUnavailable)
	if e := oci.AsError(err); e.RetryAfter <= 0 || e.Class != oci.ClassNone {
		t.Errorf("%+v", e)
	}
	if n := f.cache.Turns(); n != 1 {
		t.Errorf("%d turns", n)
	}
	close(h.open)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
