package command

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "off": "", ":5001": "", "unix//run/a.sock|0600": "",
		"5001": "--listen 5001: did you mean :5001?", "http://:5001": "--listen http://:5001: did you mean :5001?",
		":99999": "--listen :99999: invalid start port",
	} {
		err := checkAddress("--listen", text, "", "5000")
		if (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestOtherServersAreNoAdminAPI(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2") {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer gateway.Close()
	page := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer page.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	for server, want := range map[*httptest.Server]string{
		gateway: "is where clients pull, and no admin API: want localhost:2019",
		page:    "is no admin API of a gateway: want localhost:2019",
		secure:  "speaks TLS, as no admin API does: want localhost:2019",
	} {
		address := server.Listener.Addr().String()
		_, err := openStores(t.Context(), address)
		if err == nil {
			t.Fatalf("%s has stores", address)
		}
		if err = explain(t.Context(), address, err); !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	wrong := errors.New("nobody")
	if err := explain(t.Context(), "127.0.0.1:1", wrong); !errors.Is(err, wrong) {
		t.Errorf("nobody answers: %v", err)
	}
}
