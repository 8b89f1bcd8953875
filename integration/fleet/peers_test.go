//go:build fleet

package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

const fleetSecret = "0123456789abcdef0123456789abcdef"

// newPeers starts gateways that ask each other.
func newPeers(t *testing.T, from *registrytest.Server, shared *s3, n int, option ...string) (gateways []*gatewayProcess) {
	t.Helper()
	var all []string
	for range n {
		address, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, address)
	}
	for _, address := range all {
		options := fmt.Sprintf("peers %s\n\t\tlisten %s\n\t\tsecret {env.FLEET_SECRET}", strings.Join(all, " "), address)
		gateways = append(gateways, newPeer(t, from, shared, options, option...))
	}
	for _, g := range gateways {
		await(t, "the gateways find each other", func() bool { return len(g.peerStatus().alive()) == n-1 })
	}
	return gateways
}

// storageStatus is what the status tells of the storage of a gateway in a fleet.
type storageStatus struct {
	Fills int
	Peers struct {
		Asked, Answered int64
		Members         []struct {
			Instance, Error string
			Self            bool
		}
	}
}

func (s *storageStatus) alive() (ids []string) {
	for _, m := range s.Peers.Members {
		if !m.Self && m.Instance != "" {
			ids = append(ids, m.Instance)
		}
	}
	return ids
}

func (g *gatewayProcess) peerStatus() *storageStatus {
	g.t.Helper()
	out, _ := g.command("mirror", "status", "--address", "unix/"+g.admin, "--json") // which may find something
	var status struct{ Storage []*storageStatus }
	if err := json.Unmarshal(out, &status); err != nil || len(status.Storage) != 1 {
		g.t.Fatalf("status: %v\n%s", err, out)
	}
	return status.Storage[0]
}

// Clients of three gateways pull a cold image through any of them: the upstream is asked for
// everything once. Proofs of what it has age, since it is at a private address: so each
// gateway has it confirm what another one sends, which is no download.
func TestThreeGateways(t *testing.T) {
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10, 1<<20, 8<<20)
	gateways := newPeers(t, from, shared, 3)
	var all sync.WaitGroup
	for n := range testenv.Rounds(30, 300) {
		all.Go(func() {
			if err := gateways[n%3].try(image); err != nil {
				t.Errorf("client %d: %v", n, err)
			}
		})
	}
	all.Wait()
	tags := 0
	for _, r := range from.Requests() {
		if r.Method == http.MethodHead && strings.HasSuffix(r.Path, "/manifests/"+image.Tag) {
			tags++ // whoever owns tag and index gets the index by the tag, to confirm that
		}
	}
	if blobs, manifests := from.Count("GET", "blobs"), from.Count("GET", "manifests"); blobs != 4 || manifests != 2 || tags != 1 {
		t.Errorf("the upstream sees GET of %d blobs and %d manifests, and is asked for the tag %d times", blobs, manifests, tags)
	}
	p, size := image.Platforms[0], int64(0)
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		size += d.Size
	}
	// How much was sent is known once the upstream's handlers have returned.
	await(t, "the upstream has sent all of it", func() bool { return from.BlobBytes() >= size })
	if sent := from.BlobBytes(); sent > size+size/100 {
		t.Errorf("the upstream has sent %d bytes of blobs, of %d", sent, size)
	}
}

// try pulls the first platform of an image once.
func (g *gatewayProcess) try(image registrytest.Image) error {
	p := image.Platforms[0]
	for path, d := range map[string]digest.Digest{
		"/manifests/" + image.Tag: image.Index.Digest, "/manifests/" + p.Manifest.Digest.String(): p.Manifest.Digest,
	} {
		if err := g.verify(path, d); err != nil {
			return err
		}
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if err := g.verify("/blobs/"+d.Digest.String(), d.Digest); err != nil {
			return err
		}
	}
	return nil
}

// verify gets something, whose bytes have to be right.
func (g *gatewayProcess) verify(path string, d digest.Digest) error {
	response, err := http.Get("http://" + g.host + "/v2/proxy-docker.io/" + repository + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !oci.Verify(d, body) {
		return fmt.Errorf("%s: status %d, %d bytes: %w", path, response.StatusCode, len(body), err)
	}
	return nil
}

// The owner is killed, or paused, while it downloads: all clients of the others have right
// bytes, and there is one more download at the most.
func TestOwnerIsLost(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "paused": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := registrytest.New(t, registrytest.Options{})
			d := from.PutRandom(repository, 1, 8<<20)
			begun, going := make(chan struct{}), make(chan struct{})
			from.On(registrytest.Rule{Method: "GET", Kind: "blobs", Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				next(&halfWriter{ResponseWriter: w, half: func() {
					close(begun)
					select {
					case <-going:
					case <-r.Context().Done():
					}
				}}, r)
			}})
			defer close(going)
			gateways := newPeers(t, from, nil, 3)
			failed := make(chan error, 100)
			path := "/blobs/" + d.String()
			go func() { _ = gateways[0].verify(path, d) }() // the owner's clients fail with it
			<-begun
			owner, others := ownerOf(gateways)
			for range 10 {
				for _, g := range others {
					go func() { failed <- g.verify(path, d) }()
				}
			}
			for _, g := range others {
				await(t, "it follows", func() bool { return g.peerStatus().Fills == 1 })
			}
			if err := owner.process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = owner.process.Signal(syscall.SIGCONT) }()
			for range 10 * len(others) {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
			if n := from.Count("GET", "blobs"); n != 2 {
				t.Errorf("%d downloads", n)
			}
		})
	}
}

// ownerOf returns the gateway that downloads: the first one, unless that asks another one.
func ownerOf(gateways []*gatewayProcess) (owner *gatewayProcess, others []*gatewayProcess) {
	owner = gateways[0]
	for _, g := range gateways[1:] {
		if g.peerStatus().Fills == 1 {
			owner = g
		}
	}
	for _, g := range gateways {
		if g != owner {
			others = append(others, g)
		}
	}
	return owner, others
}

// halfWriter stops once after a good part.
type halfWriter struct {
	http.ResponseWriter

	written int
	half    func()
}

func (w *halfWriter) Write(p []byte) (int, error) {
	if w.written += len(p); w.written > 2<<20 && w.half != nil {
		half := w.half
		w.half = nil
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		half()
	}
	return w.ResponseWriter.Write(p)
}
