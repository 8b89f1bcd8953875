package redirect

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

const size = 100

// gateway is a mirror with what a Mirror asks.
type gateway struct {
	registry.Mirror

	stat, served, sent int
	refused            error
	known              int64 // the size that it tells
	stored             bool
	shared             int64 // the size in the bucket; 0 = it is not there
	failing            error
}

func (g *gateway) StatBlob(_ context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	g.stat++
	return oci.Descriptor{Digest: r.Reference.Digest, Size: g.known}, oci.CacheStatus{}, g.refused
}

func (g *gateway) Blob(_ context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	g.served++
	return oci.Blob{Digest: r.Reference.Digest, Size: g.known}, oci.CacheStatus{Result: oci.ResultHit}, g.refused
}

func (g *gateway) mirror() *Mirror {
	return New(Options{
		Mirror: g, MinSize: size,
		Upstream: func(name string) bool { return name == "docker.io" },
		Stored:   func(context.Context, digest.Digest) bool { return g.stored },
		Shared: func(_ context.Context, d digest.Digest) (string, int64, bool) {
			return "v1/b/" + d.Encoded(), g.shared, g.shared > 0
		},
		URL:  func(_ context.Context, key string) (string, error) { return "https://s3/" + key, g.failing },
		Sent: func(digest.Digest) { g.sent++ },
	})
}

func of(client string) oci.Request {
	return oci.Request{Kind: oci.KindBlob, Upstream: "docker.io", Client: client, Reference: oci.Reference{Digest: digest.FromString("blob")}}
}

// A client is sent to the bucket only for a large blob that it may have, that the bucket
// has as a whole, and the gateway has not. In each other case it is answered as ever.
func TestWhoIsSentAway(t *testing.T) {
	far := errors.New("no keys")
	for name, c := range map[string]struct {
		change func(g *gateway, r *oci.Request)
		away   bool
		asked  int // whether it may have it
	}{
		"large":             {func(*gateway, *oci.Request) {}, true, 1},
		"small":             {func(g *gateway, _ *oci.Request) { g.shared, g.known = size-1, size-1 }, false, 0},
		"not in the bucket": {func(g *gateway, _ *oci.Request) { g.shared = 0 }, false, 0},
		"another size":      {func(g *gateway, _ *oci.Request) { g.shared = size + 1 }, false, 1},
		"stored":            {func(g *gateway, _ *oci.Request) { g.stored = true }, false, 0},
		"a range":           {func(_ *gateway, r *oci.Request) { r.Ranged = true }, false, 0},
		"another upstream":  {func(_ *gateway, r *oci.Request) { r.Upstream = "registry.example.com" }, false, 0},
		"refused":           {func(g *gateway, _ *oci.Request) { g.refused = &oci.Error{Code: oci.CodeDenied, Status: 403} }, false, 1},
		"no URL":            {func(g *gateway, _ *oci.Request) { g.failing = far }, false, 1},
	} {
		g := &gateway{known: size, shared: size}
		r := of("a")
		c.change(g, &r)
		b, status, err := g.mirror().Blob(t.Context(), r)
		if away := b.Location != ""; away != c.away || g.stat != c.asked || (g.sent > 0) != away || (g.served > 0) == away || !errors.Is(err, g.refused) {
			t.Errorf("%s: %+v, %s, %v; asked %d times, served %d, sent %d", name, b, status, err, g.stat, g.served, g.sent)
		}
		if c.away && (b.Size != size || b.Location != "https://s3/v1/b/"+b.Digest.Encoded() || status.String() != "pullgate; fwd=miss; detail=redirect") {
			t.Errorf("%s: %+v, %s", name, b, status)
		}
	}
}

// Who comes back for what it was sent away for gets it from the gateway, for a while.
func TestWhoComesBackIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{known: size, shared: size}
		m := g.mirror()
		for n, want := range []struct {
			client string
			away   bool
			later  time.Duration
		}{{"a", true, 0}, {"a", false, 0}, {"b", true, 0}, {"a", false, backWithin}, {"a", true, 0}} {
			b, _, err := m.Blob(t.Context(), of(want.client))
			if (b.Location != "") != want.away || err != nil {
				t.Errorf("%d: %s gets %+v, %v", n, want.client, b, err)
			}
			time.Sleep(want.later)
		}
	})
}
