package upstream

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestGuardAddresses(t *testing.T) {
	c := newClient(t, "https://registry.test", func(o *Options) {
		o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
		o.resolver = names(t, map[string][]string{"registry.test": {"192.168.7.7", "169.254.1.1"}})
	})
	for address, allowed := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.0.1": true, "172.32.0.1": true, "100.63.0.1": true, "100.128.0.1": true,
		"192.167.1.1": true, "223.255.255.255": true, "2606:4700::1111": true, "2a00:1450::1": true,
		"::ffff:8.8.8.8": true, "64:ff9b::8.8.8.8": true, "2002:808:808::1": true,
		// allow_address
		"10.1.0.0": true, "10.1.255.255": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "fd00:1::5": true,
		"10.0.255.255": false, "10.2.0.0": false, "fd00:2::5": false,
		// what the configured name resolves to, but never link-local
		"192.168.7.7": true, "::ffff:192.168.7.7": true, "192.168.7.8": false, "169.254.1.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.255.254": false, "169.254.169.254": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.0.1": false,
		"198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false,
		"239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false,
		"::ffff:0:7f00:1": false, "64:ff9b::127.0.0.1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false,
		"2002:7f00:1::": false, "2002:a9fe:a9fe::1": false, "2002:a00:1::1": false, "100::1": false,
		"2001::1": false, "2001:0:7f00:1::": false, "2001:db8::1": false, "3fff::1": false, "4000::1": false,
		"fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false, "2606:4700::1%eth0": false,
		"fec0::1": false, "ff02::1": false, "ff0e::1": false,
	} {
		err := c.guard.control(t.Context(), "tcp", net.JoinHostPort(address, "443"), nil)
		if (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %v", address, err, allowed)
		}
		var refused *addressError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s: %T", address, err)
		}
	}
	if err := c.guard.control(t.Context(), "unix", "/run/x.sock", nil); err == nil {
		t.Error("a path is no address")
	}
}

func TestAllowedInside(t *testing.T) {
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

func FuzzRealm(f *testing.F) {
	for _, seed := range []string{"https://auth.docker.io/token", "http://127.0.0.1", "https://u@registry.test", "//x", "%"} {
		f.Add(seed)
	}
	c, err := New(Options{
		Name: "x", URLs: []*url.URL{{Scheme: "https", Host: "registry.test"}}, Credentials: BasicCredentials("u", "p"),
		resolver: noNames(),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := c.endpoints[0]
		realm, trusted, err := c.visit(e, operation{}, nil).realm(t.Context(), s, e.base)
		if err != nil {
			return
		}
		if realm.Scheme != "https" || realm.User != nil || realm.Hostname() == "" {
			t.Errorf("%q is asked", s)
		}
		if trusted && (!strings.EqualFold(realm.Hostname(), "registry.test") || realm.Port() != "" && realm.Port() != "443") {
			t.Errorf("%q gets the password", s)
		}
	})
}
