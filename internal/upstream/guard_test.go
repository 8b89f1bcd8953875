package upstream

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestAllowedInside(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	inside := httptest.NewUnstartedServer(http.HandlerFunc(give))
	_ = inside.Listener.Close()
	inside.Listener = listener
	inside.Start()
	defer inside.Close()
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL, http.StatusFound)
	})
	c := newClient(t, s.URL)
	_, err = c.Manifest(t.Context(), repo, tag("1"))
	if e := wantClass(t, err, oci.ClassForbidden); e.Status != http.StatusBadGateway {
		t.Errorf("status %d", e.Status)
	}
	c = newClient(t, s.URL, func(o *Options) {
		o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	})
	if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		var n int
		_, _ = fmt.Sscanf(r.URL.Query().Get("n"), "%d", &n)
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, "/v2/long/"):
			w.Header().Set("Location", "/"+strings.Repeat("x", 100<<10))
			w.WriteHeader(http.StatusFound)
		case strings.HasPrefix(path, "/v2/name/"):
			redirect(w, http.StatusFound, "http://"+strings.Repeat("x", 300)+".test/")
		case strings.HasPrefix(path, "/v2/loop/"):
			http.Redirect(w, r, path, http.StatusFound)
		case strings.HasPrefix(path, "/v2/six/") && n < 6, strings.HasPrefix(path, "/v2/five/") && n < 5:
			http.Redirect(w, r, fmt.Sprintf("1?n=%d#fragment", n+1), []int{301, 302, 303, 307, 308}[n%5])
		case strings.HasPrefix(path, "/v2/multiple/"):
			w.WriteHeader(http.StatusMultipleChoices)
		default:
			sendIndex(w)
		}
	})
	c := newClient(t, s.URL)
	for name, want := range map[string]struct {
		class oci.Class
		hits  int32
	}{
		"five": {oci.ClassNone, 6}, "six": {oci.ClassRedirect, 6}, "loop": {oci.ClassRedirect, 6},
		"name": {oci.ClassRedirect, 1}, "multiple": {oci.ClassRedirect, 1}, "long": {oci.ClassConnect, 1},
	} {
		hits.Store(0)
		_, err := c.Manifest(t.Context(), name, tag("1"))
		if oci.ClassOf(err) != want.class || hits.Load() != want.hits {
			t.Errorf("%s: %v after %d requests, want %d", name, err, hits.Load(), want.hits)
		}
	}
}

func TestHTTPProxy(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	var through atomic.Int32
	proxy := script(t, func(w http.ResponseWriter, r *http.Request) {
		through.Add(1)
		if user, password, _ := parseProxyAuth(r); user != "u" || password != "p" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		r.RequestURI = ""
		r.Header.Del("Proxy-Authorization")
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = copyBody(w, resp)
	})
	c := newClient(t, s.URL(), func(o *Options) {
		o.Proxy = mustURL(t, strings.Replace(proxy.URL, "://", "://u:p@", 1))
	})
	pull(t, c, image)
	if n, want := int(through.Load()), len(s.Requests()); n != want {
		t.Errorf("%d of %d requests through the proxy", n, want)
	}
	for _, r := range s.Requests() {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Errorf("%v saw the proxy's password", r)
		}
	}
	// The proxy resolves names, so literals are all that can be refused here.
	evil := script(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
	})
	through.Store(0)
	c = newClient(t, evil.URL, func(o *Options) { o.Proxy = c.o.Proxy })
	_, err := c.Manifest(t.Context(), repo, tag("1"))
	wantClass(t, err, oci.ClassForbidden)
	if n := through.Load(); n != 1 {
		t.Errorf("%d requests through the proxy", n)
	}
}

func parseProxyAuth(r *http.Request) (user, password string, ok bool) {
	clone := http.Request{Header: http.Header{"Authorization": r.Header.Values("Proxy-Authorization")}}
	return clone.BasicAuth()
}
