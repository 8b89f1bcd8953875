package upstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// failing makes a server answer everything with a status until it is told to stop.
func failing(s *registrytest.Server, status int) (stop func()) {
	s.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(status) })
	return func() { s.Hook(nil) }
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		now := newClock()
		var log bytes.Buffer
		c := newClientIn(t, n, s.URL(), func(o *Options) {
			o.Now, o.Logger = now.Now, slog.New(slog.NewTextHandler(&log, nil))
		})
		ask := func() error { _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); return err }
		heal := failing(s, http.StatusServiceUnavailable)
		for s.Count("", "") < 5 {
			wantClass(t, ask(), oci.ClassStatus)
		}
		for range 1000 {
			e := wantClass(t, ask(), oci.ClassBreaker)
			if e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 || e.RetryAfter > 6*time.Second ||
				!strings.Contains(e.Message, mustURL(t, s.URL()).Host) {
				t.Fatalf("%+v", e)
			}
		}
		if gets, pings := s.Count("", "manifests"), s.Count("", "ping"); gets != 5 || pings != 1 {
			t.Errorf("%d requests and %d pings, want 5 and one", gets, pings)
		}
		if b := c.Breakers()[0]; !b.Open || b.Fails != 5 || b.Wait <= 0 || b.Class != oci.ClassStatus || b.URL != s.URL() {
			t.Errorf("state %+v", b)
		}
		// Blobs are refused alike: it is the registry that is down.
		_, err := c.Blob(t.Context(), repo, image.Platforms[0].Layers[0].Digest, 0, -1)
		wantClass(t, err, oci.ClassBreaker)
		s.Reset()
		// One probe each time, whoever comes first.
		now.add(6 * time.Second)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { _ = ask() })
		}
		wg.Wait()
		if got := s.Count("", ""); got != 1 {
			t.Errorf("%d requests after a probe, want 1", got)
		}
		wantClass(t, ask(), oci.ClassBreaker)
		now.add(6 * time.Second)
		heal()
		for range 3 {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		if b := c.Breakers()[0]; b.Open || b.Fails != 0 || b.Wait != 0 || b.Class != oci.ClassNone {
			t.Errorf("state %+v", b)
		}
		for line, want := range map[string]int{"breaker opened": 1, "breaker closed": 1} {
			if got := strings.Count(log.String(), line); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", line, got, want, log.String())
			}
		}
	})
}

// What a registry refuses is no failure of the registry.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 405, 429, 501} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, image := newServer(t, registrytest.Options{Network: n})
				c := newClientIn(t, n, s.URL())
				failing(s, status)
				for range 20 {
					_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
					if class := oci.ClassOf(err); class == oci.ClassNone || class == oci.ClassBreaker {
						t.Fatalf("class %q", class)
					}
				}
				if b := c.Breakers()[0]; b.Open || b.Fails != 0 {
					t.Errorf("state %+v", b)
				}
			})
		})
	}
	t.Run("off", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *registrytest.Network) {
			s, image := newServer(t, registrytest.Options{Network: n})
			c := newClientIn(t, n, s.URL(), func(o *Options) { o.MaxFails = -1 })
			failing(s, 500)
			for range 20 {
				_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
				wantClass(t, err, oci.ClassStatus)
			}
		})
	})
	t.Run("the trouble of a host behind", func(t *testing.T) {
		inBubble(t, func(t *testing.T, n *registrytest.Network) {
			s, image := newServer(t, registrytest.Options{Network: n, CDN: true})
			c := newClientIn(t, n, s.URL())
			s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if r.Host == mustURL(t, s.CDNURL()).Host {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				next(w, r)
			})
			for range 10 {
				_, err := c.Blob(t.Context(), repo, image.Platforms[0].Layers[0].Digest, 0, -1)
				wantClass(t, err, oci.ClassStatus)
			}
			if b := c.Breakers()[0]; b.Open || b.Fails != 0 {
				t.Errorf("state %+v", b)
			}
		})
	})
}

// Each URL has a breaker: while that of the first is open, the second has all of
// the time, and the first is probed behind it.
func TestBreakerOfEachURL(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	now := newClock()
	var asked atomic.Int32
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(deaf.Close)
	c := newClient(t, deaf.URL, func(o *Options) {
		o.Now, o.URLs = now.Now, []*url.URL{mustURL(t, deaf.URL), mustURL(t, s.URL())}
	})
	for range 100 {
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("the failing URL was asked %d times, want 5 and a ping", n)
	}
	if b := c.Breakers(); !b[0].Open || b[1].Open {
		t.Errorf("states %+v", b)
	}
	// Nobody says 404 who has not been asked.
	_, err := c.Manifest(t.Context(), repo, tag("none"))
	wantClass(t, err, oci.ClassBreaker)
}

// A burst of failures costs the registry no more than one request in ten on top.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for name, share := range map[string]float64{"half": .5, "all": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, image := newServer(t, registrytest.Options{Network: n})
				var mu sync.Mutex
				random := rand.New(rand.NewPCG(seed, 1))
				s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					mu.Lock()
					fails := random.Float64() < share
					mu.Unlock()
					if fails {
						w.WriteHeader(500 + []int{0, 2, 3}[len(r.URL.Path)%3])
						return
					}
					next(w, r)
				})
				now := newClock()
				c := newClientIn(t, n, s.URL(), func(o *Options) { o.MaxFails, o.Now = -1, now.Now })
				const clients = 1000
				var good atomic.Int32
				var wg sync.WaitGroup
				slots := make(chan struct{}, 50)
				for range clients {
					slots <- struct{}{}
					wg.Go(func() {
						defer func() { <-slots }()
						if _, err := headManifest(t.Context(), c, repo, tag(image.Tag)); err == nil {
							good.Add(1)
						}
					})
				}
				wg.Wait()
				requests := s.Count("", "")
				t.Logf("%d operations, %d good, %d requests", clients, good.Load(), requests)
				if requests > clients*11/10+50 || requests < clients { // and HEADs that were under way when the first one failed
					t.Errorf("%d operations cost %d requests, want at most a tenth more", clients, requests)
				}
			})
		})
	}
}

func TestLoneRequestIsRetried(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		now := newClock()
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Now = now.Now })
		for range 3 {
			s.Reset()
			var asked atomic.Int32
			s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if asked.Add(1) < maxTries {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				next(w, r)
			})
			if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Fatal(err)
			}
			if got := s.Count("", ""); got != maxTries {
				t.Errorf("%d requests, want %d", got, maxTries)
			}
			now.add(retryWindow)
		}
	})
}
