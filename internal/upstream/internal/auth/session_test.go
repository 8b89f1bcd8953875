package auth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// newTestRegistry returns the registry of a server, and a request for something in the
// repository a/b there.
func newTestRegistry(t *testing.T, login credentials.Login, h http.HandlerFunc) (*Registry, wire.Request) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	transports := egress.New(egress.Options{Now: time.Now})
	t.Cleanup(transports.CloseIdle)
	limit := 10 * time.Second
	sender := wire.NewSender(wire.NewClient(wire.Options{Header: limit, Reused: limit}, transports), at)
	r := New(sender, Options{
		Base: at.JoinPath("/v2/"), Ping: at.JoinPath("/v2/"), Timeout: limit, Now: time.Now,
		Source: func(context.Context, string) (credentials.Login, error) { return login, nil },
	})
	return r, wire.Request{Op: wire.OpGetManifest, Method: http.MethodGet, URL: at.JoinPath("/v2/a/b/manifests/1")}
}

// TestSession: what led to an answer is how the next session of the repository begins,
// and a refusal is final when nothing else is offered.
func TestSession(t *testing.T) {
	var asked []string
	good := "Basic dTpw" // u:p
	r, request := newTestRegistry(t, credentials.Login{Username: "u", Password: "p"}, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != good {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	for _, test := range []struct {
		good   string
		status int
		asked  []string
	}{
		{good, http.StatusOK, []string{"/v2/ ", "/v2/a/b/manifests/1 " + good}},
		{good, http.StatusOK, []string{"/v2/a/b/manifests/1 " + good}},
		// The source is asked again, and says the same.
		{"Basic other", http.StatusUnauthorized, []string{"/v2/a/b/manifests/1 " + good}},
	} {
		good = test.good
		asked = nil
		a, err := r.Session("a/b").Do(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		a.Drain()
		if a.StatusCode != test.status || len(asked) < len(test.asked) || asked[0] != test.asked[0] || asked[len(test.asked)-1] != test.asked[len(test.asked)-1] {
			t.Errorf("status %d after %q, want %d after %q", a.StatusCode, asked, test.status, test.asked)
		}
	}
}

// TestOpenRegistryIsKnown: the first answer tells that nothing is wanted.
func TestOpenRegistryIsKnown(t *testing.T) {
	r, request := newTestRegistry(t, credentials.Login{}, func(http.ResponseWriter, *http.Request) {})
	r.source = nil
	a, err := r.Session("a/b").Do(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	a.Drain()
	if way, known := r.challenges.of("a/b"); !known || way != (challenge{}) {
		t.Errorf("nothing was learned from the first answer: %+v", way)
	}
}

// TestRealmElsewhereGetsNoPassword: what is said of that names the origin.
func TestRealmElsewhereGetsNoPassword(t *testing.T) {
	r, request := newTestRegistry(t, credentials.Login{Username: "u", Password: "p"}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://127.0.0.2:1/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := r.Session("a/b").Do(t.Context(), request)
	if f := wire.AsFailure(t.Context(), "", err); f.Class != oci.ClassForbidden {
		t.Errorf("%v", err)
	}
}
