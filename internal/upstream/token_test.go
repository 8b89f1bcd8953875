package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestOneTokenForManyColdCallers(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	c := newClient(t, s.URL())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := headManifest(t.Context(), c, repo, tag(image.Tag)); err != nil {
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

// Those who wait for a token that does not come share the failure, and nothing more.
func TestSharedFailure(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	s.On(registrytest.Rule{Kind: "token", Hook: registrytest.Answer(http.StatusForbidden, nil, "")})
	c := newClient(t, s.URL())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := headManifest(t.Context(), c, repo, tag(image.Tag))
			wantClass(t, err, oci.ClassDenied)
		})
	}
	wg.Wait()
}

func TestCallerThatLeavesDoesNotEndTheExchange(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	asked := make(chan struct{})
	answer, open := registrytest.Hold(t)
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
	open()
	if err := <-other; err != nil {
		t.Fatal(err)
	}
	if n := s.Count("", "token"); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

func TestTokenIsRenewedBeforeItsEnd(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, TokenLifetime: 10 * time.Minute})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	get := func(tokens int) {
		t.Helper()
		if _, err := headManifest(t.Context(), c, repo, tag(image.Tag)); err != nil {
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
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, TokenLifetime: 10 * time.Minute})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	get := func() error {
		return second(headManifest(t.Context(), c, repo, tag(image.Tag)))
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
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	c := newClient(t, s.URL())
	head := func() { _, _ = headManifest(t.Context(), c, repo, tag(image.Tag)) }
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
	t.Parallel()
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
	t.Parallel()
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

// script is a registry that one handler is all of.
func script(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// scriptIn is script in a network.
func scriptIn(t testing.TB, n *registrytest.Network, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = n.Listen()
	s.Start()
	t.Cleanup(s.Close)
	return s
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func sendIndex(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_, _ = io.WriteString(w, emptyIndex)
}

// What a token server answers, and what becomes of the pull.
func TestTokenServerTrouble(t *testing.T) {
	t.Parallel()
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
		"expires_in words": {200, `{"token":"good","expires_in":"canary"}`, oci.ClassNone},
		"expires_in text":  {200, `{"token":"good","expires_in":"300"}`, oci.ClassNone},
		"expires_in part":  {200, `{"token":"good","expires_in":300.5}`, oci.ClassNone},
		"expires_in null":  {200, `{"token":"good","expires_in":null}`, oci.ClassNone},
		"expires_in NaN":   {200, `{"token":"good","expires_in":"NaN"}`, oci.ClassNone},
		"issued_at":        {200, `{"token":"good","expires_in":300,"issued_at":"1999-12-31T23:59:59Z"}`, oci.ClassNone},
		"both":             {200, `{"token":"good","access_token":"good"}`, oci.ClassNone},
		"one is empty":     {200, `{"token":"good","access_token":""}`, oci.ClassNone},
		"the other is":     {200, `{"token":"","access_token":"good"}`, oci.ClassNone},
		"null":             {200, `{"token":null,"access_token":"good"}`, oci.ClassNone},
		"number":           {200, `{"token":1}`, oci.ClassToken},
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
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n, Auth: registrytest.AuthBearer})
		done, _ := registrytest.Hold(t)
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.URL.Path == "/token" {
				<-done
			}
			next(w, r)
		})
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Token = 20 * time.Millisecond })
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		if e := wantClass(t, err, oci.ClassTimeout); e.Status != http.StatusGatewayTimeout || !strings.Contains(e.Message, "token server") {
			t.Errorf("%d %q", e.Status, e.Message)
		}
	})
}

func TestRealmThatMoves(t *testing.T) {
	t.Parallel()
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
	if _, err := c.Manifest(t.Context(), "b", tag("1")); err != nil {
		t.Fatalf("after the realm moved: %v", err)
	}
}
