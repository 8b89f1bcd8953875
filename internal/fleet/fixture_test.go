package fleet_test

import (
	"cmp"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
	"github.com/pullgate/pullgate/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	upstreamName = "docker.io"
	repository   = "library/alpine"
)

var own = oci.Scope{Upstream: upstreamName, Repository: repository}

// gateway is one with a store of its own, and a bucket in common with others.
type gateway struct {
	t      *testing.T
	store  *storage.Store
	cache  *mirror.Cache
	fleet  *fleet.Fleet
	mirror *mirror.Mirror
	// policies are those of the mirror.
	policies []mirror.Upstream
	close    func()
	group    *peers.Group // nil = it is alone
	// offline says that it asks no upstream.
	offline bool
	// brought is how many bytes of blobs have come from upstreams.
	brought atomic.Int64
}

// newGateway returns an empty gateway, which waits for the bucket as long as that takes. A
// nil bucket is none. change changes its policy.
func newGateway(t *testing.T, from *registrytest.Server, objects bucket.Objects, change ...func(*mirror.Upstream)) *gateway {
	t.Helper()
	return newGatewayOn(t, from, objects, (*fleet.Fleet).Relax, change...)
}

// newHastyGateway returns an empty gateway with the budgets that there are.
func newHastyGateway(t *testing.T, from *registrytest.Server, objects bucket.Objects) *gateway {
	t.Helper()
	return newGatewayOn(t, from, objects, func(*fleet.Fleet) {})
}

func newGatewayOn(t *testing.T, from *registrytest.Server, objects bucket.Objects, prepare func(*fleet.Fleet), change ...func(*mirror.Upstream)) *gateway {
	t.Helper()
	return newGatewayAt(t, t.TempDir(), from, objects, prepare, time.Now, change...)
}

// newGatewayAt returns a gateway of a path, with a clock of its own.
func newGatewayAt(t *testing.T, path string, from *registrytest.Server, objects bucket.Objects, prepare func(*fleet.Fleet), now func() time.Time, change ...func(*mirror.Upstream)) *gateway {
	t.Helper()
	at, err := url.Parse(from.URL())
	if err != nil {
		t.Fatal(err)
	}
	client, err := upstream.New(upstream.Options{Name: upstreamName, URLs: []*url.URL{at}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	policy := mirror.Upstream{
		Name: upstreamName, Access: mirror.Access{Public: true}, Freshness: mirror.Freshness{TagTTL: time.Minute}, Remote: client,
	}
	for _, c := range change {
		c(&policy)
	}
	g := bareGateway(t, path, objects, prepare, now)
	g.serve(policy)
	return g
}

// bareGateway returns a gateway of a path, and of no upstreams.
func bareGateway(t *testing.T, path string, objects bucket.Objects, prepare func(*fleet.Fleet), now func() time.Time) *gateway {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, store: store}
	g.fleet = fleet.New(fleet.Options{Records: store, Blobs: mirror.BlobsOf(store), Catalog: store.Catalog, Store: store})
	prepare(g.fleet)
	g.fleet.Use("memory", objects)
	observe := func(e mirror.FillEvent) {
		if g.fleet.Filled(e); e.Finished {
			g.brought.Add(e.Bytes)
		}
	}
	g.cache = mirror.NewCache(mirror.CacheOptions{Records: g.fleet.Records(), Blobs: g.fleet.Blobs(), Observe: observe, Now: now})
	g.close = sync.OnceFunc(func() {
		g.leave()
		g.cache.Close()
		g.fleet.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.close)
	return g
}

// serve has the gateway mirror upstreams, whose Remotes stand behind the bucket.
func (g *gateway) serve(upstreams ...mirror.Upstream) {
	g.t.Helper()
	for n, u := range upstreams {
		g.offline = g.offline || u.Offline
		upstreams[n].Remote = g.fleet.Remote(fleet.Upstream{Identity: cmp.Or(u.Identity, u.Name), TagTTL: u.TagTTL, ProofTTL: u.ProofTTL, ImmutableTags: u.ImmutableTags}, u.Remote)
	}
	g.policies = upstreams
	var err error
	if g.mirror, err = mirror.New(g.cache, mirror.Options{Upstreams: upstreams}); err != nil {
		g.t.Fatal(err)
	}
}

func request(kind oci.Kind, repository string, ref oci.Reference) oci.Request {
	return oci.Request{Upstream: upstreamName, Repository: repository, Name: repository, Kind: kind, Reference: ref}
}

// manifest gets a manifest by tag or digest.
func (g *gateway) manifest(repository, ref string) (oci.Manifest, oci.CacheStatus, error) {
	r := oci.Reference{Tag: ref}
	if d, err := oci.ParseDigest(ref); err == nil {
		r = oci.Reference{Digest: d}
	}
	return g.mirror.Manifest(g.t.Context(), request(oci.KindManifest, repository, r))
}

// blob gets a whole blob.
func (g *gateway) blob(repository string, d digest.Digest) ([]byte, oci.CacheStatus, error) {
	b, status, err := g.mirror.Blob(g.t.Context(), request(oci.KindBlob, repository, oci.Reference{Digest: d}))
	if err != nil {
		return nil, status, err
	}
	defer b.Content.Close()
	raw, err := io.ReadAll(b.Content)
	return raw, status, err
}

// pull pulls the first platform of an image by its tag, as a client does: what fails it
// tries again, up to so many times. All bytes have to be right.
func (g *gateway) pull(image registrytest.Image, again int) {
	g.t.Helper()
	p := image.Platforms[0]
	try := func(what string, get func() error) {
		g.t.Helper()
		var err error
		for range again + 1 {
			if err = get(); err == nil {
				return
			}
		}
		g.t.Fatalf("%s: %v", what, err)
	}
	for _, ref := range []string{image.Tag, image.Index.Digest.String(), p.Manifest.Digest.String()} {
		try("manifest "+ref, func() error {
			mf, _, err := g.manifest(image.Repository, ref)
			if err == nil && !oci.Verify(mf.Digest, mf.Bytes) {
				g.t.Errorf("manifest %s has wrong bytes", ref)
			}
			return err
		})
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		try("blob "+d.Digest.String(), func() error {
			raw, _, err := g.blob(image.Repository, d.Digest)
			if err == nil && !oci.Verify(d.Digest, raw) {
				g.t.Errorf("blob %s has wrong bytes", d.Digest)
			}
			return err
		})
	}
}

// patience is how long a test waits for what has to come.
const patience = 30 * time.Second

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	late := time.After(patience)
	for !so() {
		select {
		case <-late:
			t.Fatalf("%s: not within %v", what, patience)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// uploaded waits until an image is in a bucket, with all that belongs to it.
func uploaded(t *testing.T, m *memory, image registrytest.Image) {
	t.Helper()
	p := image.Platforms[0]
	await(t, "uploads", func() bool {
		return len(m.keys("v1/b/")) >= 1+len(p.Layers) && len(m.keys("v1/m/")) >= 2 && len(m.keys("v1/l/")) >= 3+len(p.Layers) && len(m.keys("v1/t/")) >= 1
	})
}
