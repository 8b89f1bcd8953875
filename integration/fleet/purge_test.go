//go:build fleet

package fleet

import (
	"bytes"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/s3client"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// serves returns what a gateway serves of an image.
func (g *gatewayProcess) serves(image registrytest.Image) (served []string) {
	g.t.Helper()
	p := image.Platforms[0]
	paths := []string{"/manifests/" + image.Tag, "/manifests/" + image.Index.Digest.String(), "/manifests/" + p.Manifest.Digest.String()}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		paths = append(paths, "/blobs/"+d.Digest.String())
	}
	for _, path := range paths {
		if status, _, _ := g.get(image.Repository, path); status == http.StatusOK {
			served = append(served, path)
		}
	}
	return served
}

// mirror runs a command about the gateway, which succeeds.
func (g *gatewayProcess) mirror(args ...string) []byte {
	g.t.Helper()
	out, err := g.command(append([]string{"mirror", args[0], "--address", "unix/" + g.admin}, args[1:]...)...)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", args[0], err, out)
	}
	return out
}

// proofs returns the proofs in a bucket of what docker.io has.
func proofs(t *testing.T, b *s3client.Client) (keys []string) {
	t.Helper()
	for o, err := range b.List(t.Context(), "v1/l/docker.io/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// What is removed on one of several gateways, the others serve no more: not the one that
// runs, nor the one that was stopped, from its next answer on, nor a new one. Proofs that
// are written late bring nothing back.
func TestRemoveOnAllGateways(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image, other := from.PutImage(repository, "3", 1, 10, 1<<20), from.PutImage("library/other", "3", 2, 10)
	first, second, stopped := newGateway(t, from, shared), newGateway(t, from, shared), newGateway(t, from, shared)
	for _, g := range []*gatewayProcess{first, second, stopped} {
		g.pull(image)
		g.pull(other)
		await(t, "uploads", func() bool { return g.status().Waiting == 0 })
	}
	b := shared.open()
	uploaded(t, b, image)
	late := proofs(t, b)
	from.Refuse()
	if err := stopped.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = stopped.process.Signal(syscall.SIGCONT) }
	t.Cleanup(resume)
	began := time.Now()
	if out := first.mirror("rm", "docker.io/library/alpine:3"); !bytes.Contains(out, []byte("on all gateways, 1 tag and 5 proofs removed")) {
		t.Errorf("rm says %s", out)
	}
	removed := time.Now()
	await(t, "the other gateway sees it", func() bool { return len(second.serves(image)) == 0 })
	t.Logf("rm took %v, and the other gateway saw it %v later", removed.Sub(began), time.Since(removed))
	if took := time.Since(began); took < 5*time.Second {
		time.Sleep(5*time.Second - took) // it was stopped for longer than any tick takes
	}
	resume()
	if served := stopped.serves(image); len(served) > 0 {
		t.Errorf("the gateway that was stopped serves %v", served)
	}
	for _, key := range late {
		if err := b.Put(t.Context(), key, bytes.NewReader(nil), 0, bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []*gatewayProcess{first, second, stopped, newGateway(t, from, shared)} {
		if served := g.serves(image); len(served) > 0 {
			t.Errorf("after late uploads, %v is served", served)
		}
	}
	second.pull(other)
	stopped.pull(other)
	// From then on, its upstream's new word counts.
	if err := from.Accept(); err != nil {
		t.Fatal(err)
	}
	second.pull(image)
}

// What is pinned on one gateway is pinned on the others, and none of them removes it.
func TestPinOnAllGateways(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10)
	first, second := newGateway(t, from, shared), newGateway(t, from, shared)
	first.pull(image)
	first.mirror("pin", "docker.io/library/alpine:3")
	pinned := func() bool { return bytes.Contains(second.mirror("pins"), []byte("docker.io/library/alpine:3")) }
	await(t, "the other gateway has the pin", pinned)
	out, err := second.command("mirror", "rm", "--address", "unix/"+second.admin, "docker.io/library/alpine:3")
	if err == nil || !bytes.Contains(out, []byte("is pinned by")) {
		t.Errorf("rm of a pinned image: %v\n%s", err, out)
	}
	second.mirror("unpin", "docker.io/library/alpine:3")
	await(t, "it is removed", func() bool {
		_, err := first.command("mirror", "rm", "--address", "unix/"+first.admin, "docker.io/library/alpine:3")
		return err == nil
	})
}

// What is removed on one of the gateways that ask each other, it does not get from those that
// have not seen it yet.
func TestRemoveAmongPeers(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10, 1<<20, 2<<20, 3<<20)
	gateways := newPeers(t, from, shared, 3)
	for _, g := range gateways {
		g.pull(image)
		await(t, "uploads", func() bool { return g.status().Waiting == 0 })
	}
	from.Refuse()
	gateways[0].mirror("rm", "docker.io/library/alpine")
	for _, g := range gateways {
		served := g.serves(image)
		if g == gateways[0] && len(served) > 0 {
			t.Errorf("the gateway itself serves %v", served)
		}
		await(t, "another gateway sees it", func() bool { return len(g.serves(image)) == 0 })
	}
	if err := from.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		g.pull(image)
	}
}
