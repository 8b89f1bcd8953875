package wire

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// TestAuthorizationStaysAtItsOrigin: it goes along with a redirect at the same origin,
// and not to another one, which the answer tells to be abroad.
func TestAuthorizationStaysAtItsOrigin(t *testing.T) {
	var seen []string
	see := func(r *http.Request) { seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization")) }
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { see(r) }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		see(r)
		switch r.URL.Path {
		case "/v2/away":
			http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
		case "/v2/near":
			http.Redirect(w, r, "/v2/here", http.StatusTemporaryRedirect)
		}
	}))
	defer s.Close()
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	var observed []Observation
	transports := egress.New(egress.Options{
		Network: egress.Network{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Now: time.Now,
	})
	client := NewClient(Options{
		Header: 10 * time.Second, Reused: 10 * time.Second, Observe: func(o Observation) { observed = append(observed, o) },
	}, transports)
	defer client.Close()
	for path, want := range map[string]struct {
		seen   string
		abroad bool
	}{
		"/v2/away": {"/there ", true},
		"/v2/near": {"/v2/here secret", false},
	} {
		seen, observed = nil, nil
		a, err := NewSender(client, at).Send(t.Context(), Request{
			Op: OpGetBlob, Method: http.MethodGet, URL: at.JoinPath(path), Authorization: "secret",
		})
		if err != nil {
			t.Fatal(err)
		}
		a.Drain()
		if len(seen) != 2 || seen[0] != path+" secret" || seen[1] != want.seen || a.Abroad != want.abroad {
			t.Errorf("%s: seen %q, abroad %t", path, seen, a.Abroad)
		}
		if len(observed) != 2 || observed[1].Status != http.StatusOK {
			t.Errorf("%s: observed %+v", path, observed)
		}
	}
}
