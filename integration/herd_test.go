//go:build integration

package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// memory returns how much memory a process has that is its own, in bytes.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// watchMemory returns a function that tells by how much the memory has grown at
// most since.
func watchMemory(t *testing.T, pid int) (grown func() int64) {
	t.Helper()
	before := memory(t, pid)
	most, stop, stopped := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, memory(t, pid))
			case <-stop:
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return most - before
	}
}

// TestHerd lets 500 clients pull one cold image at once: each of its parts is asked
// of the upstream once, with one token, and the gateway stays small.
func TestHerd(t *testing.T) {
	const clients, size = 500, 4 << 20
	u := bearerRegistry{Server: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})}
	u.lines = "url " + u.URL()
	image := u.PutImage("library/herd", "1", 1, size)
	g := startGateway(t, plain, u)
	base := g.url() + "/v2/proxy-docker.io/library/herd"
	platform := image.Platforms[0]
	paths := []string{
		"/manifests/1", "/manifests/" + platform.Manifest.Digest.String(),
		"/blobs/" + platform.Config.Digest.String(), "/blobs/" + platform.Layers[0].Digest.String(),
	}
	want := []string{image.Index.Digest.String(), platform.Manifest.Digest.String(), platform.Config.Digest.String(), platform.Layers[0].Digest.String()}
	// All are connected before the first asks.
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var connected, finished sync.WaitGroup
	connected.Add(clients)
	start := make(chan struct{})
	results := make(chan error, clients)
	grown := watchMemory(t, g.server(t))
	for range clients {
		finished.Go(func() {
			err := answers(client, g.url()+"/v2/")()
			connected.Done()
			<-start
			for i, path := range paths {
				if err == nil {
					err = fetchDigest(client, base+path, want[i])
				}
			}
			results <- err
		})
	}
	connected.Wait()
	began := time.Now()
	close(start)
	finished.Wait()
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	growth := grown()
	t.Logf("%d clients in %s, %d MiB more memory", clients, time.Since(began).Round(time.Millisecond), growth>>20)
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), 2)
	assertCount(t, "GET of a manifest", u.count("GET", "manifests"), 2)
	assertCount(t, "HEAD of a manifest", u.count("HEAD", "manifests"), 1)
	assertCount(t, "token", u.tokens(), 1)
	if growth > 64<<20 {
		t.Errorf("the gateway has grown by %d MiB", growth>>20)
	}
}

// fetchDigest gets a document, and compares its digest.
func fetchDigest(client *http.Client, url, want string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, response.Body); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != want {
		return fmt.Errorf("%s: %s, %s", url, response.Status, got)
	}
	return nil
}
