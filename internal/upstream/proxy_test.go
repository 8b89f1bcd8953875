package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// Only the environment's proxy leads out, and it alone resolves names: it counts for
// the token server and for where blobs are redirected to as it does for the registry,
// except for what NO_PROXY names.
func TestEnvironmentsProxyLeadsEverywhere(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	hosts := map[string]string{
		"registry.test": mustURL(t, s.URL()).Host, "token.test": mustURL(t, s.TokenURL()).Host, "cdn.test": mustURL(t, s.CDNURL()).Host,
	}
	var names []string
	for name, host := range hosts {
		names = append(names, host, name)
	}
	rename := strings.NewReplacer(names...)
	var mu sync.Mutex
	through := map[string]int{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			mu.Lock()
			through[r.In.URL.Host]++
			mu.Unlock()
			r.Out.URL.Scheme, r.Out.URL.Host = "http", hosts[r.In.URL.Host]
			r.Out.Host = ""
		},
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"Www-Authenticate", "Location"} {
				if value := r.Header.Get(name); value != "" {
					r.Header.Set(name, rename.Replace(value))
				}
			}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	to := mustURL(t, proxy.URL)
	c := newClient(t, "http://registry.test", func(o *Options) {
		o.seams.Resolver = noNames()
		o.seams.Environment = func(r *http.Request) (*url.URL, error) {
			if strings.HasSuffix(r.URL.Hostname(), ".test") && r.URL.Hostname() != "direct.test" {
				return to, nil
			}
			return nil, nil
		}
	})
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	b, err := c.Blob(t.Context(), repo, image.Platforms[0].Config.Digest, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if raw, err := io.ReadAll(b); err != nil || oci.Sum(raw) != image.Platforms[0].Config.Digest {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	mu.Lock()
	defer mu.Unlock()
	for name := range hosts {
		if through[name] == 0 {
			t.Errorf("%s was not asked through the proxy: %v", name, through)
		}
	}
}

// Whatever leads past the proxy passes the guard, and literal addresses do so in any case.
func TestProxyOfTheEnvironmentOpensNothing(t *testing.T) {
	t.Parallel()
	inside := script(t, func(w http.ResponseWriter, _ *http.Request) { sendIndex(w) })
	for _, direct := range []bool{false, true} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(inside.URL, "127.0.0.1", "127.0.0.2", 1), http.StatusTemporaryRedirect)
		})
		c := newClient(t, s.URL, func(o *Options) {
			o.AllowAddresses = nil
			o.seams.Environment = func(*http.Request) (*url.URL, error) {
				if direct {
					return nil, nil
				}
				return mustURL(t, s.URL), nil
			}
		})
		wantClass(t, second(c.Manifest(t.Context(), repo, tag("1"))), oci.ClassForbidden)
	}
}

// A proxy knows names of the inside, and it alone would see where they lead. So what
// tells by itself that it is inside is refused before the proxy is asked, in each
// spelling and in each way that an upstream can lead there.
func TestProxyIsNotLedInside(t *testing.T) {
	t.Parallel()
	inside := strings.Fields(`localhost LOCALHOST localhost. LocalHost.. a.localhost a.LOCALHOST. localhost.localdomain ip6-localhost
		metadata metadata.google.internal METADATA.google.Internal. x.internal x.local printer.LOCAL. router.home.arpa intranet
		kubernetes.default.svc kubernetes.default.svc.cluster.local internal local
		127.0.0.2 127.0.0.2. 10.0.0.1 192.168.1.1 169.254.169.254 168.63.129.16 100.100.100.200 0.0.0.0 [::1] [::] [fd00:ec2::254] [fe80::1]
		[::ffff:10.0.0.1] [::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe] 0x7f.1 2130706433 017700000001 127.1 0xa9fea9fe.`)
	outside := strings.Fields("cdn.test cdn.test. localhost.test internal.test a.local.test locals.notlocal 8.8.8.8 [2606:4700::1111]")
	var by way
	var to string
	var mu sync.Mutex
	asked := map[string]int{}
	proxy := script(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Host]++
		mu.Unlock()
		if r.Host != "hub.test" {
			give(w, r)
			return
		}
		by.lead(w, r, to)
	})
	for _, environment := range []bool{false, true} {
		for _, by = range ways()[:6] {
			for i, host := range append(inside, outside...) {
				to = "http://" + host + ":8080/token"
				clear(asked)
				c := newClient(t, "http://hub.test", func(o *Options) {
					if environment {
						o.seams.Environment = http.ProxyURL(mustURL(t, proxy.URL))
					} else {
						o.Proxy = mustURL(t, proxy.URL)
					}
				})
				err := by.ask(t.Context(), c)
				c.Close()
				if asked["hub.test"] == 0 {
					t.Fatalf("%s to %s: the registry was not asked: %v", by.name, host, err)
				}
				if elsewhere, want := len(asked) > 1, i >= len(inside); elsewhere != want {
					t.Errorf("%s to %s: the proxy was asked for %v: %v", by.name, host, asked, err)
				}
			}
		}
	}
}

// The operator's own URLs may have such names, but no proxy is asked for metadata.
func TestConfiguredNameGoesThroughProxy(t *testing.T) {
	t.Parallel()
	proxy := script(t, give)
	for host, want := range map[string]oci.Class{
		"registry.local": oci.ClassNone, "registry": oci.ClassNone, "10.0.0.1": oci.ClassNone, "169.254.169.254": oci.ClassForbidden,
		"[fd00:ec2::254]": oci.ClassForbidden, "168.63.129.16": oci.ClassForbidden, "0.0.0.0": oci.ClassForbidden,
	} {
		c := newClient(t, "http://"+host, func(o *Options) { o.Proxy = mustURL(t, proxy.URL) })
		_, err := c.Manifest(t.Context(), repo, tag("1"))
		if class := oci.ClassOf(err); class != want {
			t.Errorf("%s: class %q, want %q: %v", host, class, want, err)
		}
	}
}
