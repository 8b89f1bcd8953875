package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
)

// spy records what secrets reach it.
type spy struct {
	*httptest.Server
	mu      sync.Mutex
	hits    int
	secrets []string
}

const passwordBase64 = "dTpjYW5hcnk=" // u:canary

func newSpy(t *testing.T, secure bool, h http.HandlerFunc) *spy {
	t.Helper()
	s := &spy{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.hits++
		for name, values := range r.Header {
			for _, v := range values {
				if name == "Authorization" || name == "Cookie" || strings.Contains(v, "canary") || strings.Contains(v, passwordBase64) {
					s.secrets = append(s.secrets, v)
				}
			}
		}
		if strings.Contains(string(body)+r.URL.RawQuery, "canary") {
			s.secrets = append(s.secrets, "body or query")
		}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			s.secrets = append(s.secrets, "certificate")
		}
		s.mu.Unlock()
		h(w, r)
	}))
	if secure {
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *spy) seen() (hits int, secrets []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits, append([]string(nil), s.secrets...)
}

// give plays a token server, a CDN and a registry at once.
func give(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/token") {
		_, _ = io.WriteString(w, `{"token":"anonymous"}`)
		return
	}
	sendIndex(w)
}

// TestSecretsStayAtTheirOrigin lets a registry with credentials lead to another
// port of the same host in every way there is. Whatever it does, the other
// origin sees no secret unless it is configured to.
func TestSecretsStayAtTheirOrigin(t *testing.T) {
	t.Parallel()
	type registry struct {
		w     http.ResponseWriter
		r     *http.Request
		other string // URL of the other origin
		self  string
	}
	challenge := func(x registry, header string) {
		x.w.Header().Set("WWW-Authenticate", header)
		x.w.WriteHeader(http.StatusUnauthorized)
	}
	authorized := func(x registry) bool { return x.r.Header.Get("Authorization") != "" }
	tests := map[string]struct {
		serve    func(registry)
		other    http.HandlerFunc
		allowed  bool // the other origin is an auth origin
		identity bool // an identity token in place of a password
		mayTrust bool // the other origin may see secrets
		hits     int  // requests that the other origin sees; -1 = any
		class    oci.Class
	}{
		"realm of another origin": {
			serve: func(x registry) {
				if authorized(x) {
					sendIndex(x.w)
				} else {
					challenge(x, `Bearer realm="`+x.other+`/token"`)
				}
			}, hits: 1,
		},
		"realm of another origin, identity token": {
			serve: func(x registry) {
				if authorized(x) {
					sendIndex(x.w)
				} else {
					challenge(x, `Bearer realm="`+x.other+`/token"`)
				}
			}, identity: true, hits: 1,
		},
		"realm of an auth origin": {
			serve: func(x registry) {
				if authorized(x) {
					sendIndex(x.w)
				} else {
					challenge(x, `Bearer realm="`+x.other+`/token"`)
				}
			}, allowed: true, mayTrust: true, hits: 1,
		},
		"realm with the registry's host as user": {
			serve: func(x registry) {
				challenge(x, `Bearer realm="`+strings.Replace(x.other, "://", "://127.0.0.1@", 1)+`/token"`)
			}, class: oci.ClassForbidden,
		},
		"realm of another scheme": {
			serve: func(x registry) {
				challenge(x, `Bearer realm="gopher://127.0.0.1/token"`)
			}, class: oci.ClassForbidden,
		},
		"realm without a host": {
			serve: func(x registry) { challenge(x, `Bearer realm="/token"`) }, class: oci.ClassForbidden,
		},
		"basic, then a redirect": {
			serve: func(x registry) {
				if !authorized(x) {
					challenge(x, `Basic realm="x"`)
					return
				}
				http.Redirect(x.w, x.r, x.other+"/x", http.StatusTemporaryRedirect)
			}, hits: 1,
		},
		"redirect there and back": {
			serve: func(x registry) {
				switch {
				case x.r.URL.Path == "/back":
					if authorized(x) {
						x.w.WriteHeader(http.StatusTeapot)
						return
					}
					sendIndex(x.w)
				case !authorized(x):
					challenge(x, `Basic realm="x"`)
				default:
					http.Redirect(x.w, x.r, x.other+"/x?back="+x.self, http.StatusFound)
				}
			},
			other: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Query().Get("back")+"/back", http.StatusFound)
			}, hits: 1,
		},
		"redirect within the origin": {
			serve: func(x registry) {
				switch {
				case !authorized(x):
					challenge(x, `Basic realm="x"`)
				case x.r.URL.Path == "/elsewhere":
					sendIndex(x.w)
				default:
					http.Redirect(x.w, x.r, "/elsewhere", http.StatusMovedPermanently)
				}
			},
		},
		"basic challenge behind a redirect": {
			serve: func(x registry) { http.Redirect(x.w, x.r, x.other+"/x", http.StatusTemporaryRedirect) },
			other: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			}, hits: 2, class: oci.ClassStatus, // the ping and the manifest
		},
		"bearer challenge behind a redirect": {
			serve: func(x registry) { http.Redirect(x.w, x.r, x.other+"/x", http.StatusTemporaryRedirect) },
			other: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			}, hits: 3, class: oci.ClassStatus, // the ping, the manifest, and its token, which anybody gets
		},
		"token server that redirects": {
			serve: func(x registry) {
				switch {
				case x.r.URL.Path == "/token":
					http.Redirect(x.w, x.r, x.other+"/token", http.StatusTemporaryRedirect)
				case x.r.Header.Get("Authorization") == "Bearer anonymous":
					sendIndex(x.w)
				default:
					challenge(x, `Bearer realm="`+x.self+`/token"`)
				}
			}, hits: 1,
		},
		"token server that redirects an identity token": {
			serve: func(x registry) {
				if x.r.URL.Path == "/token" {
					http.Redirect(x.w, x.r, x.other+"/token", http.StatusPermanentRedirect)
					return
				}
				challenge(x, `Bearer realm="`+x.self+`/token"`)
			}, identity: true, class: oci.ClassToken,
		},
		"Set-Cookie": {
			serve: func(x registry) {
				x.w.Header().Set("Set-Cookie", "a=canary")
				if !authorized(x) {
					challenge(x, `Basic realm="x"`)
					return
				}
				http.Redirect(x.w, x.r, x.other+"/x", http.StatusTemporaryRedirect)
			}, hits: 1,
		},
	}
	for name, test := range tests {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " TLS"}[secure], func(t *testing.T) {
				if test.other == nil {
					test.other = give
				}
				other := newSpy(t, secure, test.other)
				var self *spy
				self = newSpy(t, secure, func(w http.ResponseWriter, r *http.Request) {
					test.serve(registry{w, r, other.URL, self.URL})
				})
				c := newClient(t, self.URL, func(o *Options) {
					o.Credentials = BasicCredentials("u", "canary")
					if test.identity {
						o.Credentials = always(credentials.Login{IdentityToken: "canary"})
					}
					if test.allowed {
						o.AuthOrigins = []string{other.URL}
					}
					if secure {
						o.RootCAs = x509.NewCertPool()
						o.RootCAs.AddCert(self.Certificate())
						o.RootCAs.AddCert(other.Certificate())
						o.Certificates = self.TLS.Certificates
					}
				})
				_, err := c.Manifest(t.Context(), repo, tag("1"))
				if test.class != oci.ClassNone {
					wantClass(t, err, test.class)
				} else if err != nil {
					t.Fatal(err)
				}
				hits, secrets := other.seen()
				if hits != test.hits {
					t.Errorf("the other origin saw %d requests, want %d", hits, test.hits)
				}
				if test.mayTrust != (len(secrets) > 0) {
					t.Errorf("the other origin saw %q", secrets)
				}
				if _, secrets := self.seen(); len(secrets) == 0 && test.class == oci.ClassNone && !test.mayTrust &&
					name != "realm of another origin, identity token" {
					t.Error("the registry itself saw no secret: the test proves nothing")
				}
			})
		}
	}
}

func TestTLSIsNeverLeft(t *testing.T) {
	t.Parallel()
	plain := newSpy(t, false, give)
	for name, serve := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		},
		"realm": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+plain.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpy(t, true, serve)
			c := newClient(t, s.URL, func(o *Options) {
				o.RootCAs = x509.NewCertPool()
				o.RootCAs.AddCert(s.Certificate())
				o.AuthOrigins = []string{plain.URL}
				o.Credentials = BasicCredentials("u", "canary")
			})
			_, err := c.Manifest(t.Context(), repo, tag("1"))
			if err == nil {
				t.Fatal("no error")
			}
			if hits, _ := plain.seen(); hits != 0 {
				t.Errorf("%d requests without TLS", hits)
			}
		})
	}
}
