package upstream

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		for _, password := range []string{"", "wrong-canary"} {
			s, image := newServer(t, registrytest.Options{Auth: auth, Username: "u", Password: "right"})
			c := newClient(t, s.URL(), func(o *Options) {
				if password != "" {
					o.Credentials = BasicCredentials("u", password)
				}
				u := mustURL(t, s.TokenURL())
				o.AuthOrigins = []string{u.Scheme + "://" + u.Host}
			})
			_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
			e := wantClass(t, err, oci.ClassDenied)
			if strings.Contains(e.Error(), "canary") {
				t.Errorf("the error holds the password: %v", e)
			}
			// A repository may be for anybody, whoever the token server takes us for.
			if n := s.Count("", ""); n > 3 {
				t.Errorf("%d requests to be told no: %v", n, s.Requests())
			}
		}
	}
}

func TestExpiredTokenOfPublicECR(t *testing.T) {
	t.Parallel()
	var tokens, manifests atomic.Int32
	var s *httptest.Server
	s = script(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token/":
			if got := r.URL.Query()["scope"]; len(got) != 1 || got[0] != "aws" {
				t.Errorf("scope %q", got)
			}
			fmt.Fprintf(w, `{"token":"t%d","expires_in":3600}`, tokens.Add(1))
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token/",service="public.ecr.aws",scope="aws"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Authorization") == "Bearer t1" && manifests.Add(1) > 1:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"Your Authorization Token is invalid."}]}`)
		default:
			sendIndex(w)
		}
	})
	c := newClient(t, s.URL)
	for i := range 3 {
		// A scope that names no repository gives one token for all of them.
		if _, err := c.Manifest(t.Context(), fmt.Sprintf("r%d", i), tag("1")); err != nil {
			t.Fatal(err)
		}
	}
	if n := tokens.Load(); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

func TestRefusalWithoutAChallenge(t *testing.T) {
	t.Parallel()
	var tokens atomic.Int32
	var expired atomic.Bool
	var s *httptest.Server
	s = script(t, func(w http.ResponseWriter, r *http.Request) {
		switch header := r.Header.Get("Authorization"); {
		case r.URL.Path == "/token":
			fmt.Fprintf(w, `{"token":"t%d"}`, tokens.Add(1))
		case header == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		case header == "Bearer t1" && expired.Load():
			w.WriteHeader(http.StatusUnauthorized)
		default:
			sendIndex(w)
		}
	})
	c := newClient(t, s.URL)
	for range 2 {
		if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
			t.Fatal(err)
		}
		expired.Store(true)
	}
	bare := script(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	_, err := newClient(t, bare.URL).Manifest(t.Context(), repo, tag("1"))
	wantClass(t, err, oci.ClassDenied)
}

func TestChallengeThatChangesItsScheme(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	s = script(t, func(w http.ResponseWriter, r *http.Request) {
		switch header := r.Header.Get("Authorization"); {
		case r.URL.Path == "/token":
			_, _ = io.WriteString(w, `{"access_token":"abc"}`)
		case strings.HasPrefix(header, "Basic "):
			sendIndex(w)
		case strings.HasPrefix(header, "Bearer "):
			w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := newClient(t, s.URL, func(o *Options) { o.Credentials = BasicCredentials("u", "p") })
	if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityTokenIsExchangedByPost(t *testing.T) {
	t.Parallel()
	for _, oauth := range []bool{true, false} {
		var posts, gets atomic.Int32
		var s *httptest.Server
		s = script(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token" && r.Method == http.MethodPost:
				posts.Add(1)
				if !oauth {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				if r.PostFormValue("refresh_token") != "identity" || r.PostFormValue("scope") != "repository:library/alpine:pull" {
					t.Errorf("form %v", r.PostForm)
				}
				_, _ = io.WriteString(w, `{"access_token":"abc"}`)
			case r.URL.Path == "/token":
				gets.Add(1)
				_, _ = io.WriteString(w, `{"token":"abc"}`)
			case r.Header.Get("Authorization") == "Bearer abc":
				sendIndex(w)
			default:
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token",scope="repository:library/alpine:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		c := newClient(t, s.URL, func(o *Options) {
			o.Credentials = always(credentials.Login{IdentityToken: "identity"})
		})
		if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
			t.Fatal(err)
		}
		if posts.Load() != 1 || (gets.Load() == 0) != oauth {
			t.Errorf("%d POSTs, %d GETs", posts.Load(), gets.Load())
		}
	}
}

func TestRegistryTokenIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	s = script(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer ready" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		sendIndex(w)
	})
	c := newClient(t, s.URL, func(o *Options) {
		o.Credentials = always(credentials.Login{RegistryToken: "ready"})
	})
	if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	const canary = "s3cr3t-canary"
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: canary})
	proxy := mustURL(t, "http://u:"+canary+"@127.0.0.1:1")
	o := Options{
		Name: "x", URLs: []*url.URL{mustURL(t, s.URL())}, Credentials: BasicCredentials("u", canary),
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	o.Proxy = proxy
	holder := struct {
		Options
		*Client
		c *Client
		o *Options
	}{o, c, c, &o}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{o, &o, c, holder, o.Credentials, &o.Credentials} {
			if got := fmt.Sprintf(format, v); strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s of %T prints the secret: %s", format, v, got)
			}
		}
	}
	raw, _ := json.Marshal(o.Credentials) //nolint:staticcheck // that nothing is exported is the point
	if strings.Contains(string(raw), canary) {
		t.Errorf("JSON holds the secret: %s", raw)
	}
}
