package mirror_test

import (
	"fmt"
	"net/http"
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
	for _, places := range []int{1, 2} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
			t.Run(fmt.Sprintf("%d at a time, else %d", places, status), func(t *testing.T) {
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
			})
		}
	}
}

// The same where the client asks for all at once.
func TestCrowdOfClients(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
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
		})
	}
}
