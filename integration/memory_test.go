//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestLittleMemory gives the gateway 256 MiB, and lets 1,000 clients pull 100 cold
// blobs, more than that, which all come at the same time: it grows by less,
// and everybody has the right bytes.
func TestLittleMemory(t *testing.T) {
	const limit, blobs, each, size = 256 << 20, 100, 10, 3 << 20
	t.Setenv("GOMEMLIMIT", fmt.Sprint(limit))
	u := bearerRegistry{Server: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer})}
	u.lines = "url " + u.URL() + "\nmisses_per_client 1000\n"
	var digests []string
	for n := range blobs {
		digests = append(digests, u.PutBlob("library/app", registrytest.Random(uint64(n), size)).String())
	}
	halfway := newGate(size / 2)
	defer halfway.lift()
	u.Hook(halfway.hook)
	g := startGateway(t, plain, u)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	grown := watchMemory(t, g.server(t))
	var all sync.WaitGroup
	for n := range blobs * each {
		d := digests[n%blobs]
		all.Go(func() {
			if err := fetchDigest(client, g.url()+"/v2/proxy-docker.io/library/app/blobs/"+d, d); err != nil {
				t.Error(err)
			}
		})
	}
	g.await(t, func() error {
		if n := u.count("GET", "blobs"); n < blobs {
			return fmt.Errorf("%d downloads have begun", n)
		}
		return nil
	})
	halfway.lift()
	all.Wait()
	growth := grown()
	t.Logf("%d clients, %d downloads at once of %d MiB together: %d MiB more memory", blobs*each, blobs, blobs*size>>20, growth>>20)
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), blobs)
	if growth > limit {
		t.Errorf("the gateway has grown by %d MiB", growth>>20)
	}
}
