package mirror_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// turnstile lets so many blobs through at a time, each at a pace, and refuses more.
type turnstile struct {
	places  int
	status  int
	pace    time.Duration
	in      atomic.Int32
	refused atomic.Int32
}

func (s *turnstile) hook(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	if !isBlob(r) || r.Method != http.MethodGet {
		next(w, r)
		return
	}
	if s.in.Add(1) > int32(s.places) {
		s.in.Add(-1)
		s.refused.Add(1)
		w.WriteHeader(s.status)
		return
	}
	defer s.in.Add(-1)
	registrytest.Spoil{Pace: s.pace, Piece: 64 << 10}.Hook()(w, r, next)
}

// crowdedImage is an image of seven blobs at an upstream that lets few through.
func crowdedImage(t *testing.T, s *turnstile) (*fixture, []oci.Descriptor) {
	t.Helper()
	f := newFixture(t)
	f.clock.run()
	f.policy.LookAhead, f.policy.Parallel = 6, 4
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "latest", 5, mib+1, 2*mib, 900<<10, 3*mib, 100<<10, mib).Platforms[0]
	m, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	contents, err := oci.ParseManifest(m.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	f.upstream.Hook(s.hook)
	return f, contents.Blobs
}

// An upstream takes two requests for blobs at a time, or one, and refuses more: what
// looking ahead and parallel downloads provoke is no client's answer.
func TestCrowdedUpstream(t *testing.T) {
	t.Parallel()
	for _, places := range []int{1, 2} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
			t.Run(fmt.Sprintf("%d at a time, else %d", places, status), bubble(func(t *testing.T) {
				s := &turnstile{places: places, status: status, pace: 5 * time.Millisecond}
				f, blobs := crowdedImage(t, s)
				for _, b := range append(blobs[1:], blobs[0]) {
					raw, _, err := f.pull(t.Context(), blobRequest(b.Digest))
					if err != nil || oci.Sum(raw) != b.Digest {
						t.Errorf("%d bytes of %d, %v", len(raw), b.Size, err)
					}
				}
				t.Logf("%d refused of %d", s.refused.Load(), f.upstream.Count(http.MethodGet, "blobs"))
				if n := s.refused.Load(); n == 0 || n > 30 {
					t.Errorf("%d requests were refused", n)
				}
			}))
		}
	}
}

// The same where the client asks for all at once.
func TestCrowdOfClients(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
		t.Run(fmt.Sprint(status), bubble(func(t *testing.T) {
			s := &turnstile{places: 2, status: status, pace: 5 * time.Millisecond}
			f, blobs := crowdedImage(t, s)
			var pulls sync.WaitGroup
			for _, b := range blobs {
				pulls.Go(func() {
					raw, _, err := f.pull(t.Context(), blobRequest(b.Digest))
					if err != nil || oci.Sum(raw) != b.Digest {
						t.Errorf("%d bytes of %d, %v", len(raw), b.Size, err)
					}
				})
			}
			pulls.Wait()
			t.Logf("%d refused of %d", s.refused.Load(), f.upstream.Count(http.MethodGet, "blobs"))
		}))
	}
}

// Who has to wait until others have got theirs waits for longer than a client waits
// for a header, if that is there.
func TestCrowdOfLargeBlobs(t *testing.T) { bubble(testCrowdOfLargeBlobs)(t) }

func testCrowdOfLargeBlobs(t *testing.T) {
	s := &turnstile{places: 2, status: http.StatusTooManyRequests}
	f, blobs := crowdedImage(t, s)
	f.cache.TellAfter(10 * time.Millisecond)
	open := make(chan struct{})
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		s.hook(w, r, func(w http.ResponseWriter, r *http.Request) {
			gated(64<<10, func() {}, open)(w, r, next)
		})
	})
	var opened []oci.Blob
	for _, b := range blobs[1:4] {
		r := blobRequest(b.Digest)
		r.Ranged = true
		blob, _, err := f.mirror.Blob(t.Context(), r)
		if err != nil || blob.Size != b.Size {
			t.Fatalf("%d bytes, %v", blob.Size, err)
		}
		opened = append(opened, blob)
	}
	for s.refused.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(open)
	for i, blob := range opened {
		raw, err := io.ReadAll(blob.Content)
		if err != nil || oci.Sum(raw) != blobs[i+1].Digest {
			t.Errorf("%d bytes of %d, %v", len(raw), blob.Size, err)
		}
		_ = blob.Content.Close()
	}
	if n := s.refused.Load(); n > 2 {
		t.Errorf("%d requests were refused", n)
	}
}

// What is pulled ahead and refused is remembered for nobody: who asks for it then gets
// it, at once.
func TestRefusedAhead(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
		f := newFixture(t)
		f.policy.LookAhead = 6
		f.configure()
		a, b := f.putBlob(1, 2*mib), f.putBlob(2, 2*mib)
		f.putManifest(f.putBlob(3, 300), a, b)
		var refuse atomic.Bool
		refuse.Store(true)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if isBlob(r) && refuse.Load() && !strings.Contains(r.URL.Path, a.Digest.String()) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(status)
				return
			}
			next(w, r)
		})
		f.cache.SkipWaits()
		if _, _, err := f.pull(t.Context(), blobRequest(a.Digest)); err != nil {
			t.Fatal(err)
		}
		f.idle()
		refuse.Store(false)
		if n := f.cache.Stats().Failures; n != 0 {
			t.Errorf("%d: %d failures are remembered", status, n)
		}
		if raw, _, err := f.pull(t.Context(), blobRequest(b.Digest)); err != nil || oci.Sum(raw) != b.Digest {
			t.Errorf("%d: %d bytes, %v", status, len(raw), err)
		}
	}
}

// Nor is it the answer of a client that comes to wait for it meanwhile.
func TestRefusedAheadOfAClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	a, b := f.putBlob(1, 2*mib), f.putBlob(2, 2*mib)
	f.putManifest(f.putBlob(3, 300), a, b)
	asked := make(chan struct{})
	answer, open := registrytest.Hold(t)
	f.upstream.On(registrytest.Rule{Kind: "blobs", Reference: b.Digest.String(), Times: 1, Hook: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		close(asked)
		<-answer
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}})
	if _, _, err := f.pull(t.Context(), blobRequest(a.Digest)); err != nil {
		t.Fatal(err)
	}
	<-asked
	f.filled() // what else there is
	f.filled()
	f.clock.advance(time.Minute) // so that nothing else is in flight
	joined := make(chan struct{})
	go func() {
		for f.cache.Stats().Readers == 0 {
			time.Sleep(time.Millisecond)
		}
		close(joined)
	}()
	go func() {
		<-joined
		open()
	}()
	f.mustPull(blobRequest(b.Digest), registrytest.Random(2, 2*mib), oci.ResultJoined)
}
