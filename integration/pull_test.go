//go:build integration

package integration

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// client pulls the image of these tests through one gateway.
type client interface {
	// pull pulls the image and returns the digest that the client has it under.
	pull(t *testing.T) digest.Digest
	// forget makes the client drop the image and everything of it.
	forget(t *testing.T)
}

// clientKind is a kind of client that everything is tried with.
type clientKind struct {
	name string
	// everything: it pulls all platforms, where the others pull the machine's.
	everything bool
	// ranges: it asks for ranges, so blobs may cross the upstream link in pieces.
	ranges bool
	secure access // how it reaches a gateway that is not plain
	// address is what the gateway listens on; default 127.0.0.1.
	address string
	start   func(*testing.T, *gateway) client
}

var clients = []clientKind{
	{name: "containerd with override_path", secure: secure, start: func(t *testing.T, g *gateway) client {
		return startContainerd(t, g, overridePath)
	}},
	{name: "containerd with ns", secure: secure, start: func(t *testing.T, g *gateway) client {
		return startContainerd(t, g, bareAddress)
	}},
	{name: "containerd 2 with override_path", everything: true, secure: secure, start: func(t *testing.T, g *gateway) client {
		return newResolver(t, g, overridePath, 0)
	}},
	{name: "containerd 2 with ns", everything: true, secure: secure, start: func(t *testing.T, g *gateway) client {
		return newResolver(t, g, bareAddress, 0)
	}},
	{name: "containerd 2 in chunks", everything: true, ranges: true, secure: secure, start: func(t *testing.T, g *gateway) client {
		return newResolver(t, g, overridePath, 128<<10)
	}},
	{name: "podman", secure: secure, start: newPodman},
	{name: "skopeo", everything: true, secure: secure, start: newSkopeo},
	{name: "crane", everything: true, secure: secure, start: newCrane},
	// Docker takes 127.0.0.0/8 for insecure and would not look at the certificate.
	{name: "docker", secure: tlsOnly, address: "::1", start: startDocker},
}

func TestPull(t *testing.T) {
	for _, kind := range clients {
		for _, reached := range []access{plain, kind.secure} {
			for _, from := range upstreams {
				if from.private && !reached.auth {
					continue // answers no user without a name
				}
				t.Run(kind.name+"/"+reached.name+"/"+from.name, func(t *testing.T) { testPull(t, kind, reached, from) })
			}
		}
	}
}

func testPull(t *testing.T, kind clientKind, reached access, from upstreamKind) {
	i, u := testImage(t), from.start(t)
	address := "127.0.0.1"
	if kind.address != "" && reached.tls {
		address = kind.address
	}
	g := startGatewayOn(t, reached, u, address)
	c := kind.start(t, g)
	u.reset()

	pull := func(what string) {
		t.Helper()
		if got := c.pull(t); got != i.index.Digest {
			t.Fatalf("%s: the client has %s, the upstream %s", what, got, i.index.Digest)
		}
	}
	pull("cold")
	platforms := 1
	if kind.everything {
		platforms = len(architectures)
	}
	assertCount(t, "cold: HEAD of a manifest", u.count("HEAD", "manifests"), 1)
	assertCount(t, "cold: GET of a manifest", u.count("GET", "manifests"), 1+platforms)
	blobs := u.count("GET", "blobs")
	if want := platforms * (1 + len(contents)); blobs != want && (!kind.ranges || blobs < want) {
		t.Errorf("cold: GET of a blob: upstream saw %d, want %d", blobs, want)
	}
	if r, counts := u.(bearerRegistry); counts {
		t.Logf("cold: %d requests for blobs, %d bytes", blobs, r.BlobBytes())
		if want := i.blobBytes(platforms); r.BlobBytes() != want {
			t.Errorf("cold: %d bytes of blobs crossed the upstream link, the image has %d", r.BlobBytes(), want)
		}
	}
	assertCount(t, "cold: HEAD of a blob", u.count("HEAD", "blobs"), 0)
	assertCount(t, "cold: token", u.tokens(), from.tokens)

	u.reset()
	c.forget(t)
	pull("warm")
	assertCount(t, "warm: any request", u.total(), 0)

	u.stop()
	c.forget(t)
	pull("upstream stopped")
	g.restart(t)
	c.forget(t)
	pull("upstream stopped, gateway restarted")
}

func assertCount(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: upstream saw %d, want %d", what, got, want)
	}
}

// TestClientsTogether lets different clients pull at the same time from a
// gateway that has nothing yet: everything crosses the upstream link once.
func TestClientsTogether(t *testing.T) {
	i, u := testImage(t), upstreams[1].start(t)
	g := startGateway(t, plain, u)
	together := []client{
		startContainerd(t, g, overridePath), startContainerd(t, g, bareAddress), newPodman(t, g), newSkopeo(t, g),
		newResolver(t, g, overridePath, 0), newCrane(t, g),
	}
	u.reset()
	t.Run("pull", func(t *testing.T) {
		for n, c := range together {
			t.Run(fmt.Sprintf("%d %T", n, c), func(t *testing.T) {
				t.Parallel()
				if got := c.pull(t); got != i.index.Digest {
					t.Errorf("the client has %s, the upstream %s", got, i.index.Digest)
				}
			})
		}
	})
	assertCount(t, "HEAD of a manifest", u.count("HEAD", "manifests"), 1)
	assertCount(t, "GET of a manifest", u.count("GET", "manifests"), len(i.manifests))
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), len(i.blobs))
	assertCount(t, "token", u.tokens(), 1)
}
