package upstream

import (
	"fmt"
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
