package registrytest_test

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestNetwork waits an hour for an answer of an upstream in memory, which takes none,
// and finds nobody where nobody listens.
func TestNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := new(registrytest.Network)
		s := registrytest.New(t, registrytest.Options{Network: network, CDN: true})
		content := registrytest.Random(1, 1<<20)
		path := "/v2/library/app/blobs/" + s.PutBlob("library/app", content).String()
		transport := &http.Transport{DialContext: network.Dial}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			time.Sleep(time.Hour)
			next(w, r)
		})
		began := time.Now()
		response, err := client.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != string(content) || time.Since(began) != 2*time.Hour { // at each host
			t.Errorf("%d bytes, %v after %s", len(body), err, time.Since(began))
		}
		_ = response.Body.Close()
		s.Refuse()
		if response, err := client.Get(s.URL() + path); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, %v", response, err)
		}
		silent := network.Listen()
		client.Timeout = time.Minute
		if response, err := client.Get("http://" + silent.Addr().String()); err == nil {
			_ = response.Body.Close()
			t.Error("nobody answers")
		}
		_ = silent.Close()
	})
}
