//go:build integration

package integration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// gate holds bodies of blobs back after some bytes, until it is opened. What
// clients got by then, they got while the fill was running.
type gate struct {
	after int64
	once  sync.Once
	open  chan struct{}
}

func newGate(after int64) *gate { return &gate{after: after, open: make(chan struct{})} }

func (g *gate) lift() { g.once.Do(func() { close(g.open) }) }

// hook is a registrytest.Hook.
func (g *gate) hook(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	next(&gatedWriter{ResponseWriter: w, gate: g, done: r.Context().Done()}, r)
}

type gatedWriter struct {
	http.ResponseWriter
	gate *gate
	done <-chan struct{}
	sent int64
}

func (w *gatedWriter) Write(p []byte) (int, error) {
	if w.sent >= w.gate.after {
		if f, ok := w.ResponseWriter.(interface{ Unwrap() http.ResponseWriter }); ok {
			_ = http.NewResponseController(f.Unwrap()).Flush()
		}
		select {
		case <-w.gate.open:
		case <-w.done:
			return 0, errors.New("client has left")
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// TestCrowd lets 50 clients ask at once for a cold blob of 256 MiB, and cuts the
// first of them off: one download serves them all, and each has its first bytes
// long before its end.
func TestCrowd(t *testing.T) {
	const size, clients, early = 256 << 20, 50, 1 << 20
	u := bearerRegistry{Server: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})}
	// One that stalls would be joined by others.
	u.lines = "url " + u.URL() + "\nparallel_download 1"
	content := registrytest.Random(1, size)
	d := u.PutBlob("library/big", content)
	want := sha256.Sum256(content)
	halfway := newGate(size / 2)
	defer halfway.lift()
	u.Hook(halfway.hook)
	g := startGateway(t, plain, u)
	url := g.url() + "/v2/proxy-docker.io/library/big/blobs/" + d.String()

	leader := openBlob(t, url)
	if _, err := io.CopyN(io.Discard, leader.Body, early); err != nil {
		t.Fatalf("first client: %v", err)
	}
	var started, finished sync.WaitGroup
	started.Add(clients)
	results := make(chan error, clients)
	for range clients {
		finished.Go(func() { results <- readAll(url, early, want, started.Done) })
	}
	started.Wait() // everybody has bytes, and the upstream has not sent its second half
	leader.Body.Close()
	halfway.lift()
	finished.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Error(err)
		}
	}
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), 1)
	assertCount(t, "token", u.tokens(), 1)
	if got := u.BlobBytes(); got != size {
		t.Errorf("%d bytes crossed the upstream link, the blob has %d", got, size)
	}
}

// TestCrowdOfHeads asks for one cold tag a hundred times at once.
func TestCrowdOfHeads(t *testing.T) {
	u := startBearerRegistry(t, registrytest.Options{}).(bearerRegistry)
	g := startGateway(t, plain, u)
	wait := newGate(0)
	defer wait.lift()
	arrived := make(chan struct{}, 1)
	u.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Method == http.MethodHead {
			arrived <- struct{}{}
			<-wait.open
		}
		next(w, r)
	})
	url := g.url() + "/v2/proxy-docker.io/" + imageRepository + "/manifests/" + imageTag
	want := testImage(t).index.Digest.String()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			response, err := http.Head(url)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if got := response.Header.Get("Docker-Content-Digest"); got != want {
				t.Errorf("%s, digest %q, want %q", response.Status, got, want)
			}
		})
	}
	<-arrived // the dance's first HEAD, answered with 401
	wait.lift()
	go func() {
		for range arrived {
		}
	}()
	all.Wait()
	u.Hook(nil)
	close(arrived)
	assertCount(t, "HEAD of a manifest", u.count("HEAD", "manifests"), 1)
	assertCount(t, "token", u.tokens(), 1)
}

func openBlob(t *testing.T, url string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", url, response.Status)
	}
	return response
}

// readAll gets a blob, calls begun after the first bytes, and compares all.
func readAll(url string, first int64, want [sha256.Size]byte, begun func()) error {
	tell := sync.OnceFunc(begun)
	defer tell()
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, response.Body, first); err != nil {
		return fmt.Errorf("first bytes: %w", err)
	}
	tell()
	if _, err := io.Copy(h, response.Body); err != nil {
		return err
	}
	if got := [sha256.Size]byte(h.Sum(nil)); got != want {
		return fmt.Errorf("got %s", digest.NewDigestFromBytes(digest.SHA256, got[:]))
	}
	return nil
}
