package operate

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/storage"
)

// Whatever answers in place of a mirror is told from one.
func TestProbeOfASite(t *testing.T) {
	t.Parallel()
	store, err := storage.Open(t.Context(), storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	mirror := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		tls     *tls.Config
		down    bool
		state   string
		text    string
	}{
		"a mirror":              {handler: mirror, state: StateOK, text: "nothing is cached"},
		"an empty 200":          {handler: status(http.StatusOK), state: StateFailing, text: "answers 200 to /v2/, but not as a registry"},
		"a broken one":          {handler: status(http.StatusBadGateway), state: StateFailing, text: "answers 502"},
		"one with users":        {handler: status(http.StatusUnauthorized), state: StateOK, text: "asks for a user"},
		"nobody":                {handler: mirror, down: true, state: StateFailing, text: "no answer: dial tcp"},
		"one that redirects":    {handler: status(http.StatusFound), state: StateFailing, text: "answers 302"},
		"TLS":                   {handler: mirror, tls: &tls.Config{MinVersion: tls.VersionTLS13}, state: StateOK, text: "it answers"},
		"one that wants a cert": {handler: mirror, tls: &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}, state: StateNotTested, text: "a client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(test.handler)
			if server.TLS = test.tls; test.tls == nil {
				server.Start()
			} else {
				server.StartTLS()
			}
			t.Cleanup(server.Close)
			address := server.Listener.Addr().String()
			e := Endpoint{URL: server.URL, Network: "tcp", Address: address}
			if test.down {
				server.Close()
			}
			var lines []ProbeLine
			e.probe(t.Context(), &Store{Store: store}, new(Site), func(l ProbeLine) { lines = append(lines, l) })
			last := lines[len(lines)-1]
			if last.State != test.state || last.OK == (test.state == StateFailing) || !strings.Contains(last.Text, test.text) || last.Name != server.URL {
				t.Errorf("%+v", last)
			}
			if certified := len(lines) == 2 && lines[0].OK && strings.Contains(lines[0].Text, "its certificate is for example.com"); certified != (test.tls != nil) {
				t.Errorf("%+v", lines)
			}
		})
	}
}
