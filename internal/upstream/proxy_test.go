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
		o.resolver = noNames()
		o.environment = func(r *http.Request) (*url.URL, error) {
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
	inside := script(t, func(w http.ResponseWriter, _ *http.Request) { sendIndex(w) })
	for _, direct := range []bool{false, true} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(inside.URL, "127.0.0.1", "127.0.0.2", 1), http.StatusTemporaryRedirect)
		})
		c := newClient(t, s.URL, func(o *Options) {
			o.AllowAddresses = nil
			o.environment = func(*http.Request) (*url.URL, error) {
				if direct {
					return nil, nil
				}
				return mustURL(t, s.URL), nil
			}
		})
		wantClass(t, second(c.Manifest(t.Context(), repo, tag("1"))), oci.ClassForbidden)
	}
}
