package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
		_, err := OpenStores(t.Context(), address)
		if err == nil {
			t.Fatalf("%s has stores", address)
		}
		if err = Explain(t.Context(), address, err); !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	wrong := errors.New("nobody")
	if err := Explain(t.Context(), "127.0.0.1:1", wrong); !errors.Is(err, wrong) {
		t.Errorf("nobody answers: %v", err)
	}
}
