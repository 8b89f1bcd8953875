package upstream

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// putBlobs makes blobs that the server begins to send after a while.
func putBlobs(s *registrytest.Server, n int, after time.Duration) (ds []digest.Digest) {
	for i := range n {
		ds = append(ds, s.PutBlob(repo, registrytest.Random(uint64(i), 1000)))
	}
	s.On(registrytest.Rule{Kind: "blobs", Method: http.MethodGet, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		select {
		case <-time.After(after):
			next(w, r)
		case <-r.Context().Done():
		}
	}})
	return ds
}

func impatient(o *Options) {
	o.Timeouts = Timeouts{Operation: 400 * time.Millisecond, Header: 300 * time.Millisecond, Reused: time.Second, Patience: 10 * time.Second}
}

// A registry that takes its time for each blob, longer than for anything else, is
// waited for as long as it is alive, which one ping tells for all that wait.
func TestSlowBlobs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s := registrytest.New(t, registrytest.Options{Network: n})
		ds := putBlobs(s, 7, time.Second)
		c := newClientIn(t, n, s.URL(), impatient)
		var gets sync.WaitGroup
		for _, d := range ds {
			gets.Go(func() {
				b, err := c.Blob(t.Context(), repo, d, 0, -1)
				if err != nil {
					t.Error(err)
					return
				}
				defer b.Close()
				if raw, err := io.ReadAll(b); err != nil || oci.Sum(raw) != d {
					t.Errorf("%d bytes, %v", len(raw), err)
				}
			})
		}
		gets.Wait()
		if b, p := s.Count(http.MethodGet, "blobs"), s.Count(http.MethodGet, "ping"); b != len(ds) || p != 1 {
			t.Errorf("%d GETs, %d pings", b, p)
		}
		if b := c.Breakers()[0]; b.Fails != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// One that is silent altogether is not, nor one that has had its time.
func TestNoPatienceWithSilence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		silent      bool
		patience    time.Duration
		least, most time.Duration
	}{
		"silent":      {true, 10 * time.Second, 300 * time.Millisecond, 5 * time.Second},
		"alive":       {false, 1200 * time.Millisecond, time.Second, 5 * time.Second},
		"no patience": {false, time.Millisecond, 300 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s := registrytest.New(t, registrytest.Options{Network: n})
				ds := putBlobs(s, 1, time.Minute)
				if test.silent {
					s.Hook(func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() })
				}
				c := newClientIn(t, n, s.URL(), impatient, func(o *Options) { o.Timeouts.Patience = test.patience })
				began := time.Now()
				_, err := c.Blob(t.Context(), repo, ds[0], 0, -1)
				wantClass(t, err, oci.ClassTimeout)
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// While there is another URL to ask, nobody waits for a slow one.
func TestPatienceIsForTheLastURL(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		slow, fast := registrytest.New(t, registrytest.Options{Network: n}), registrytest.New(t, registrytest.Options{Network: n})
		d := putBlobs(slow, 1, time.Minute)[0]
		fast.PutBlob(repo, registrytest.Random(0, 1000))
		c := newClientIn(t, n, slow.URL(), impatient, func(o *Options) { o.URLs = append(o.URLs, mustURL(t, fast.URL())) })
		began := time.Now()
		b, err := c.Blob(t.Context(), repo, d, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// What is refused while other blobs are under way keeps nobody quiet, is not repeated
// at once, and speaks against no registry; what is refused alone is as ever.
func TestRefusedInACrowd(t *testing.T) {
	t.Parallel()
	for status, alone := range map[int]int{http.StatusTooManyRequests: 1, http.StatusServiceUnavailable: 3} {
		s := registrytest.New(t, registrytest.Options{})
		now := newClock()
		c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
		first, second := s.PutBlob(repo, registrytest.Random(1, 1000)), s.PutBlob(repo, registrytest.Random(2, 1000))
		b, err := c.Blob(t.Context(), repo, first, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		s.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(status) })
		for range 2 {
			s.Reset()
			if _, err := c.Blob(t.Context(), repo, second, 0, -1); err == nil || s.Count("", "blobs") != 1 || c.Breakers()[0].Fails != 0 {
				t.Errorf("%d: %v after %d requests, %+v", status, err, s.Count("", "blobs"), c.Breakers()[0])
			}
			_ = b.Close() // a moment later is as good
		}
		now.add(lingering)
		s.Reset()
		if _, err := c.Blob(t.Context(), repo, second, 0, -1); err == nil || s.Count("", "blobs") != alone {
			t.Errorf("%d: %v after %d requests", status, err, s.Count("", "blobs"))
		}
		s.Reset()
		s.Hook(nil)
		_, err = c.Blob(t.Context(), repo, second, 0, -1)
		if quiet := oci.ClassOf(err) == oci.ClassRateLimited; quiet != (status == http.StatusTooManyRequests) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
