package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/registrytest"
)

const fleetSecret = "0123456789abcdef0123456789abcdef"

// herd is gateways that answer each other.
type herd struct {
	t        *testing.T
	gateways []*gateway
	sockets  []net.Listener
	every    time.Duration
	dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil = as ever
	// identities are those of the upstream, where they differ.
	identities []string
}

var errWrongBytes = errors.New("wrong bytes")

// newHerd returns empty gateways that know each other. They lose nobody who is merely
// slow. nil = without a bucket.
func newHerd(t *testing.T, from *registrytest.Server, n int, objects bucket.Objects, change ...func(*mirror.Upstream)) *herd {
	t.Helper()
	h := &herd{t: t, every: patience}
	for range n {
		h.add(newGateway(t, from, objects, change...))
	}
	h.start()
	return h
}

// add adds a gateway, before the start.
func (h *herd) add(g *gateway) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.gateways, h.sockets = append(h.gateways, g), append(h.sockets, l)
}

// start has the gateways find each other.
func (h *herd) start() {
	h.t.Helper()
	var all []string
	for _, l := range h.sockets {
		all = append(all, l.Addr().String())
	}
	for i, g := range h.gateways {
		identity := upstreamName
		if h.identities != nil {
			identity = h.identities[i]
		}
		g.join(h.sockets[i], identity, peers.Options{Peers: all, Every: h.every, Patience: patience, Dial: h.dial})
	}
	for _, g := range h.gateways {
		await(h.t, "gateways find each other", func() bool { return g.fleet.Peers().Alive() == len(h.gateways)-1 })
	}
}

// join makes a gateway one of a fleet, for the identity of its upstream.
func (g *gateway) join(l net.Listener, identity string, o peers.Options) {
	g.t.Helper()
	open := slices.Clone(g.policies)
	for n := range open {
		open[n].MaxFills = 0 // others limit what they ask for
	}
	answering, err := mirror.New(g.cache, mirror.Options{Upstreams: open})
	if err != nil {
		g.t.Fatal(err)
	}
	handler := registry.New(peers.Wire(registry.Options{
		Mirror: answering, Router: registry.NewRouter(map[string]registry.Upstream{upstreamName: {Name: upstreamName}}, ""),
	}))
	o.Secret = fleetSecret
	o.Enter = func(asked string) (peers.Served, bool) {
		return peers.Served{Name: upstreamName, Handler: handler, Offline: g.offline, Leave: func() {}}, asked == identity
	}
	o.Current = g.fleet.Current
	if g.group, err = peers.New(o); err != nil {
		g.t.Fatal(err)
	}
	g.group.Start(l)
	g.fleet.Join(g.group)
}

// leave ends what the gateway has to do with the others, as a kill would.
func (g *gateway) leave() {
	g.fleet.Join(nil)
	if g.group != nil {
		g.group.Close()
	}
}

// owner returns the gateway that owns a key, and all the others.
func (h *herd) owner(key string) (owner *gateway, others []*gateway) {
	for _, g := range h.gateways {
		if len(g.group.Before(key)) == 0 {
			owner = g
		} else {
			others = append(others, g)
		}
	}
	return owner, others
}

// pull has clients pull the first platform of an image at all gateways in turn.
func (h *herd) pull(clients int, image registrytest.Image) {
	h.t.Helper()
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			if err := h.gateways[n%len(h.gateways)].fetch(image); err != nil {
				h.t.Errorf("client %d: %v", n, err)
			}
		})
	}
	all.Wait()
}

// fetch pulls the first platform of an image by its tag.
func (g *gateway) fetch(image registrytest.Image) error {
	p := image.Platforms[0]
	for _, ref := range []string{image.Tag, image.Index.Digest.String(), p.Manifest.Digest.String()} {
		if mf, _, err := g.manifest(image.Repository, ref); err != nil || !oci.Verify(mf.Digest, mf.Bytes) {
			return fmt.Errorf("manifest %s: %w", ref, err)
		}
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if raw, _, err := g.blob(image.Repository, d.Digest); err != nil || !oci.Verify(d.Digest, raw) {
			return fmt.Errorf("%d bytes of blob %s: %w", len(raw), d.Digest, err)
		}
	}
	return nil
}

// newSkewed returns a gateway whose clock is wrong.
func newSkewed(t *testing.T, from *registrytest.Server, now func() time.Time, change ...func(*mirror.Upstream)) *gateway {
	t.Helper()
	return newGatewayAt(t, t.TempDir(), from, nil, (*fleet.Fleet).Relax, now, change...)
}
