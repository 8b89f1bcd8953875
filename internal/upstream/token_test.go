package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestOneTokenForManyColdCallers(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	c := newClient(t, s.URL())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := c.HeadManifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Count("", "token"); n != 1 {
		t.Errorf("%d tokens for 100 callers", n)
	}
	if n := s.Count("", "manifests") - s.Accepted("", "manifests"); n != 1 {
		t.Errorf("%d challenges for 100 callers", n)
	}
}

func TestCallerThatLeavesDoesNotEndTheExchange(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	asked, answer := make(chan struct{}), make(chan struct{})
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path == "/token" {
			close(asked)
			<-answer
		}
		next(w, r)
	})
	c := newClient(t, s.URL())
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { first <- second(c.Manifest(ctx, repo, tag(image.Tag))) }()
	<-asked
	other := make(chan error)
	go func() { other <- second(c.Manifest(t.Context(), repo, tag(image.Tag))) }()
	cancel()
	wantClass(t, <-first, oci.ClassCanceled)
	close(answer)
	if err := <-other; err != nil {
		t.Fatal(err)
	}
	if n := s.Count("", "token"); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

func TestTokenIsRenewedBeforeItsEnd(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, TokenLifetime: 10 * time.Minute})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	get := func(tokens int) {
		t.Helper()
		if _, err := c.HeadManifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
		if n := s.Count("", "token"); n != tokens {
			t.Errorf("%d tokens, want %d", n, tokens)
		}
	}
	get(1)
	now.add(8*time.Minute - time.Second)
	get(1)
	now.add(time.Second)
	get(2)
	if n := s.Count("", "manifests") - s.Accepted("", "manifests"); n != 1 {
		t.Errorf("%d challenges, want the first one alone", n)
	}
}

func TestOldTokenServesWhileThereIsNoNewOne(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, TokenLifetime: 10 * time.Minute})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	get := func() error {
		return second(c.HeadManifest(t.Context(), repo, tag(image.Tag)))
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path == "/token" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		next(w, r)
	})
	for _, step := range []time.Duration{8 * time.Minute, time.Minute, time.Minute - time.Second} {
		now.add(step)
		if err := get(); err != nil {
			t.Errorf("at %v: %v", now.Now(), err)
		}
	}
	now.add(time.Second)
	wantClass(t, get(), oci.ClassToken)
}

func TestTokenThatExpiresEarlyIsRenewedOnce(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	c := newClient(t, s.URL())
	head := func() { _, _ = c.HeadManifest(t.Context(), repo, tag(image.Tag)) }
	head()
	s.ExpireTokens()
	s.Reset()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(head)
	}
	wg.Wait()
	if n := s.Count("", "token"); n != 1 {
		t.Errorf("%d tokens after expiry, want 1", n)
	}
	if n := s.Accepted("", "manifests"); n != 20 {
		t.Errorf("%d good answers, want 20", n)
	}
}

func TestEachRepositoryHasItsToken(t *testing.T) {
	s, _ := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	s.CopyRepository(repo, "other/thing")
	c := newClient(t, s.URL())
	for range 2 {
		for _, name := range []string{repo, "other/thing"} {
			if _, err := c.Manifest(t.Context(), name, tag("3")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := s.Count("", "token"); n != 2 {
		t.Errorf("%d tokens for two repositories", n)
	}
	if n := s.Count("", "manifests"); n != 5 {
		t.Errorf("%d manifest requests, want 4 and one challenge", n)
	}
}

func TestRefusedForEver(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path != "/token" {
			r.Header.Del("Authorization")
		}
		next(w, r)
	})
	c := newClient(t, s.URL())
	_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
	e := wantClass(t, err, oci.ClassDenied)
	if e.Status != http.StatusForbidden || e.UpstreamStatus != http.StatusUnauthorized {
		t.Errorf("status %d, upstream's %d", e.Status, e.UpstreamStatus)
	}
	if n := s.Count("", "token"); n > 2 {
		t.Errorf("%d tokens asked for", n)
	}
	s.Reset()
	_, err = c.Manifest(t.Context(), repo, tag(image.Tag))
	wantClass(t, err, oci.ClassDenied)
	if n := s.Count("", "token"); n > 2 {
		t.Errorf("%d tokens asked for the second time", n)
	}
}

func TestWrongPassword(t *testing.T) {
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
			if n := s.Count("", ""); n > 2 {
				t.Errorf("%d requests to be told no: %v", n, s.Requests())
			}
		}
	}
}

// script is a registry that one handler is all of.
func script(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func sendIndex(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_, _ = io.WriteString(w, emptyIndex)
}

func TestExpiredTokenOfPublicECR(t *testing.T) {
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
			o.Credentials = fromKeychain(fixed{authn.FromConfig(authn.AuthConfig{IdentityToken: "identity"})})
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
		o.Credentials = fromKeychain(fixed{authn.FromConfig(authn.AuthConfig{RegistryToken: "ready"})})
	})
	if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
}

// What a token server answers, and what becomes of the pull.
func TestTokenServerTrouble(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		class  oci.Class
	}{
		"HTML":             {200, "<html>canary</html>", oci.ClassToken},
		"no token":         {200, `{"canary":1}`, oci.ClassToken},
		"line break":       {200, `{"token":"a\r\nX-Canary: b"}`, oci.ClassToken},
		"not ASCII":        {200, `{"token":"canäry"}`, oci.ClassToken},
		"1 MiB":            {200, `{"token":"` + strings.Repeat("a", 1<<20) + `"}`, oci.ClassToken},
		"500":              {500, "canary", oci.ClassToken},
		"401":              {401, "canary", oci.ClassDenied},
		"403":              {403, "canary", oci.ClassDenied},
		"404":              {404, "canary", oci.ClassToken},
		"204":              {204, "", oci.ClassToken},
		"304":              {304, "", oci.ClassToken},
		"429":              {429, "canary", oci.ClassRateLimited},
		"negative":         {200, `{"token":"good","expires_in":-5}`, oci.ClassNone},
		"huge":             {200, `{"token":"good","expires_in":1000000000000}`, oci.ClassNone},
		"access_token":     {200, `{"access_token":"good"}`, oci.ClassNone},
		"expires_in words": {200, `{"token":"good","expires_in":"canary"}`, oci.ClassToken},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = script(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token":
					w.WriteHeader(test.status)
					_, _ = io.WriteString(w, test.body)
				case r.Header.Get("Authorization") == "Bearer good":
					sendIndex(w)
				default:
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			c := newClient(t, s.URL)
			_, err := c.Manifest(t.Context(), repo, tag("1"))
			if test.class == oci.ClassNone {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := wantClass(t, err, test.class); strings.Contains(fmt.Sprintf("%v %+v", e, e), "anary") {
				t.Errorf("the error quotes the body: %v", e)
			}
		})
	}
}

func TestSilentTokenServer(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	done := make(chan struct{})
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Path == "/token" {
			<-done
		}
		next(w, r)
	})
	defer close(done)
	c := newClient(t, s.URL(), func(o *Options) { o.Timeouts.Token = 20 * time.Millisecond })
	_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
	if e := wantClass(t, err, oci.ClassTimeout); e.Status != http.StatusGatewayTimeout || !strings.Contains(e.Message, "token server") {
		t.Errorf("%d %q", e.Status, e.Message)
	}
}

func TestRealmThatMoves(t *testing.T) {
	var moved atomic.Bool
	var s *httptest.Server
	s = script(t, func(w http.ResponseWriter, r *http.Request) {
		realm := "/token"
		if moved.Load() {
			realm = "/new"
		}
		switch {
		case r.URL.Path == realm:
			_, _ = io.WriteString(w, `{"token":"abc"}`)
		case !strings.HasPrefix(r.URL.Path, "/v2/"):
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("Authorization") != "":
			sendIndex(w)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := newClient(t, s.URL)
	if _, err := c.Manifest(t.Context(), "a", tag("1")); err != nil {
		t.Fatal(err)
	}
	moved.Store(true)
	_, err := c.Manifest(t.Context(), "b", tag("1"))
	wantClass(t, err, oci.ClassToken)
	if _, err := c.Manifest(t.Context(), "b", tag("1")); err != nil {
		t.Fatalf("after the realm moved: %v", err)
	}
}

func TestReadToken(t *testing.T) {
	for _, test := range []struct {
		expires int
		good    time.Duration
	}{
		{0, 48 * time.Second}, {-1, 48 * time.Second}, {10, 48 * time.Second}, {60, 48 * time.Second},
		{300, 240 * time.Second}, {3600, 48 * time.Minute}, {1 << 60, 48 * time.Minute},
	} {
		_, good, err := readToken(&transport.Token{Token: "x", ExpiresIn: test.expires})
		if err != nil || good != test.good {
			t.Errorf("expires_in %d: used for %v, want %v (%v)", test.expires, good, test.good, err)
		}
	}
}

func TestScopes(t *testing.T) {
	e, err := newEndpoint(mustURL(t, "https://a/v2/hub"), Options{Timeouts: Timeouts{}.withDefaults(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ scope, want string }{
		{"", "repository:hub/c/d:pull"},
		{"repository:a/b:pull", "repository:c/d:pull"},
		{"repository:hub/a/b:pull", "repository:hub/c/d:pull"},
		{"repository:a/b:pull,push", "repository:c/d:pull,push"},
		{"repository:a/b:pull repository:hub/a/b:pull", "repository:c/d:pull repository:hub/a/b:pull"},
		{"aws", "aws"},
		{"registry:catalog:*", "registry:catalog:*"},
		{strings.Repeat("x", 5000), "repository:hub/c/d:pull"},
	} {
		k := e.learnFrom(transport.Challenge{Parameters: map[string]string{"scope": test.scope}}, "a/b")
		if got := strings.Join(k.scopes("c/d"), " "); got != test.want {
			t.Errorf("scope %q becomes %q, want %q", test.scope, got, test.want)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	const canary = "s3cr3t-canary"
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: canary})
	proxy := mustURL(t, "http://u:"+canary+"@127.0.0.1:1")
	o := Options{
		Name: "x", URLs: []*url.URL{mustURL(t, s.URL())}, Credentials: BasicCredentials("u", canary),
		Certificates: nil,
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
	if raw, _ := json.Marshal(o.Credentials); strings.Contains(string(raw), canary) {
		t.Errorf("JSON holds the secret: %s", raw)
	}
}

func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"token":"a","expires_in":300}`, `{"access_token":"a"}`, `{}`, `[]`, `{"token":"\r\n"}`, `{"token":1}`, "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var token transport.Token
		if json.Unmarshal([]byte(body), &token) != nil {
			return
		}
		value, good, err := readToken(&token)
		if err != nil {
			return
		}
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("token %q", value)
		}
		if good < minTokenLife*4/5 || good > maxTokenLife*4/5 {
			t.Errorf("good for %v", good)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`,
		`Basic realm="x"`, `Negotiate, Basic realm="a\"b", Bearer realm=https://a/b`, `Negotiate abc==`, `Bearer realm="`,
		`,,,`, `=`, `Bearer realm="a" , error="invalid_token"`, "\x00\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, ok := parseChallenge([]string{header})
		if ok && c.Scheme != schemeBasic && (c.Scheme != schemeBearer || c.Parameters["realm"] == "") {
			t.Errorf("%q parses to %+v", header, c)
		}
	})
}

func TestParseChallenge(t *testing.T) {
	for _, test := range []struct {
		headers []string
		scheme  string
		want    map[string]string
	}{
		{[]string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`}, schemeBearer,
			map[string]string{"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"}},
		{[]string{`bearer Realm=https://a/t?x=1, SERVICE = "a\"b"`}, schemeBearer,
			map[string]string{"realm": "https://a/t?x=1", "service": `a"b`}},
		{[]string{`Negotiate`, `Basic realm="r"`}, schemeBasic, map[string]string{"realm": "r"}},
		{[]string{`Negotiate abc==, Basic realm="r", Bearer realm="b"`}, schemeBearer, map[string]string{"realm": "b"}},
		{[]string{`Basic realm="r"`, `Bearer service="x"`}, schemeBasic, map[string]string{"realm": "r"}},
		{[]string{`Bearer realm="a",realm="b"`}, schemeBearer, map[string]string{"realm": "a"}},
		{[]string{`Digest realm="r"`}, "", nil},
		{[]string{``, `realm="r"`, `"Bearer"`}, "", nil},
		{nil, "", nil},
	} {
		c, ok := parseChallenge(test.headers)
		if ok != (test.scheme != "") || c.Scheme != test.scheme || fmt.Sprint(c.Parameters) != fmt.Sprint(test.want) {
			t.Errorf("%q: %+v", test.headers, c)
		}
	}
}
