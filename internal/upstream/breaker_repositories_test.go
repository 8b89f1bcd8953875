package upstream

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// trouble is a registry in which some things fail.
func trouble(t testing.TB, n *registrytest.Network, fails func(r *http.Request) bool) (s *httptest.Server, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return scriptIn(t, n, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case fails(r):
			w.WriteHeader(http.StatusInternalServerError)
		case strings.Contains(r.URL.Path, "/tags/"):
			_, _ = w.Write([]byte(`{"tags":["1"]}`))
		case strings.Contains(r.URL.Path, "/blobs/"):
			_, _ = w.Write([]byte("blob"))
		case r.URL.Path != "/v2/":
			sendIndex(w)
		}
	}), asked
}

// What fails for one repository, one kind of content or one parameter is no reason
// to refuse anything else.
func TestTroubleIsChargedToWhomItBelongs(t *testing.T) {
	t.Parallel()
	in := func(part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
	}
	for name, fails := range map[string]func(*http.Request) bool{
		"a repository":                in("/sick/"),
		"a layer asked as a manifest": in("/manifests/sha256:"),
		"lists":                       in("/tags/"),
		"blobs":                       in("/blobs/"),
		"a repository, and the ping":  func(r *http.Request) bool { return r.URL.Path == "/v2/" || in("/sick/a/")(r) },
		"many repositories":           func(r *http.Request) bool { return in("/sick")(r) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, _ := trouble(t, n, fails)
				c := newClientIn(t, n, s.URL)
				healthy := func() {
					t.Helper()
					if _, err := c.Manifest(t.Context(), "healthy", tag("1")); err != nil {
						t.Fatal(err)
					}
				}
				healthy()
				for k := range 6 {
					for _, repository := range []string{"sick/a", "sick/b", fmt.Sprintf("sick%d", k)} {
						_, _ = c.Manifest(t.Context(), repository, tag("1"))
					}
					_, _ = c.Manifest(t.Context(), "sick/a", oci.Reference{Digest: oci.Sum([]byte{1})})
					_, _ = c.Tags(t.Context(), "sick/a", oci.TagsCursor{})
					if b, err := c.Blob(t.Context(), "sick/a", oci.Sum(nil), 0, -1); err == nil {
						_ = b.Close()
					}
					healthy()
				}
			})
		})
	}
}

// Several repositories and a ping open it, and so does the only one that is asked.
func TestBreakerIsConfirmed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		repositories []string
		pingFails    bool
		opens        bool
	}{
		"one, and the ping":     {[]string{"a"}, true, true},
		"several, and the ping": {[]string{"a", "b"}, true, true},
		"one alone":             {[]string{"a"}, false, false},
		"several alone":         {[]string{"a", "b", "c"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, asked := trouble(t, n, func(r *http.Request) bool { return r.URL.Path != "/v2/" || test.pingFails })
				now := newClock()
				c := newClientIn(t, n, s.URL, func(o *Options) { o.Now = now.Now })
				for range 10 {
					for _, repository := range test.repositories {
						_, err := c.Manifest(t.Context(), repository, tag("1"))
						if class := oci.ClassOf(err); class != oci.ClassStatus && (class != oci.ClassBreaker || !test.opens) {
							t.Fatalf("class %q", class)
						}
					}
				}
				if b := c.Breakers()[0]; b.Open != test.opens {
					t.Errorf("%+v", b)
				}
				if got := asked.Load(); test.opens && got != 6 {
					t.Errorf("%d requests, want 5 and a ping", got)
				}
			})
		})
	}
}

// Silence is judged as a 5xx is: it is the registry's if a ping is not answered either.
func TestBreakerOfSilence(t *testing.T) {
	t.Parallel()
	for name, pingFails := range map[string]bool{"the ping, too": true, "not the ping": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, _ := trouble(t, n, func(r *http.Request) bool {
					if r.URL.Path != "/v2/" || pingFails {
						<-r.Context().Done()
					}
					return false
				})
				c := newClientIn(t, n, s.URL)
				for k := range 5 {
					wantClass(t, second(c.Manifest(t.Context(), fmt.Sprint("r", k%2), tag("1"))), oci.ClassTimeout)
				}
				if b := c.Breakers()[0]; b.Open != pingFails {
					t.Errorf("%+v", b)
				}
			})
		})
	}
}

// What is found out before anything is said to a registry is its trouble as a whole: that
// its name does not resolve, or that its certificate is nobody's.
func TestBreakerBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	unresolved := func(o *Options) {
		o.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "registry.test", IsNotFound: true}
		}
	}
	for class, c := range map[oci.Class]*Client{
		oci.ClassDNS: newClient(t, "http://registry.test", unresolved), oci.ClassTLS: newClient(t, s.URL),
	} {
		for range 5 {
			wantClass(t, second(c.Manifest(t.Context(), "a", tag("1"))), class)
		}
		wantClass(t, second(c.Blob(t.Context(), "b", oci.Sum(nil), 0, -1)), oci.ClassBreaker)
	}
}

// A registry that refuses one kind of HEAD is asked with the other, and so is another URL.
func TestRefusedHeadsAreOfTheirKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"manifests", "blobs"} {
		var heads [2]atomic.Int32
		registry := func(of int) string {
			return script(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/"+kind+"/"):
					heads[of].Add(1)
					w.WriteHeader(http.StatusMethodNotAllowed)
				case strings.Contains(r.URL.Path, "/blobs/"):
					http.ServeContent(w, r, "", time.Time{}, strings.NewReader("blob"))
				default:
					w.Header().Set("Docker-Content-Digest", oci.Sum([]byte(emptyIndex)).String())
					w.Header().Set("Content-Length", fmt.Sprint(len(emptyIndex)))
					sendIndex(w)
				}
			}).URL
		}
		for of := range heads {
			c := newClient(t, registry(of))
			for _, repository := range []string{"a", "b", "c"} {
				_, m, err := c.Resolve(t.Context(), repository, tag("1"), nil)
				if _, blobErr := c.HeadBlob(t.Context(), repository, oci.Sum([]byte("blob"))); err != nil || blobErr != nil {
					t.Fatal(err, blobErr)
				}
				if got := m != nil; got != (kind == "manifests") {
					t.Errorf("HEADs of %s are refused: a GET for a manifest: %v", kind, got)
				}
			}
		}
		if a, b := heads[0].Load(), heads[1].Load(); a != 1 || b != 1 {
			t.Errorf("%d and %d HEADs for %s were refused, want one by each URL", a, b, kind)
		}
	}
}

// A registry that cannot be connected to is refused for everything, without a ping.
func TestBreakerOfTheLine(t *testing.T) {
	t.Parallel()
	s := script(t, func(http.ResponseWriter, *http.Request) {})
	url := s.URL
	s.Close()
	now := newClock()
	c := newClient(t, url, func(o *Options) { o.Now = now.Now })
	for k := range 5 {
		wantClass(t, second(c.Manifest(t.Context(), fmt.Sprint("r", k%2), tag("1"))), oci.ClassConnect)
	}
	for range 2 {
		wantClass(t, second(c.Manifest(t.Context(), "other", tag("1"))), oci.ClassBreaker)
		wantClass(t, second(c.Blob(t.Context(), "other", oci.Sum(nil), 0, -1)), oci.ClassBreaker)
		now.add(6100 * time.Millisecond)
		wantClass(t, second(c.Tags(t.Context(), "other", oci.TagsCursor{})), oci.ClassConnect) // the probe
	}
}
