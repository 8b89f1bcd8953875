package image_test

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
	"github.com/pullgate/pullgate/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a mirror of a registry that is called docker.io, on a store.
type fixture struct {
	t        testing.TB
	dir      string
	limits   storage.Limits
	registry *registrytest.Server
	store    *storage.Store
	cache    *mirror.Cache
	client   *upstream.Client
	mirror   *mirror.Mirror
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), registry: registrytest.New(t, registrytest.Options{})}
	f.open()
	t.Cleanup(func() { f.close() })
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	base, err := url.Parse(f.registry.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	if f.client, err = upstream.New(upstream.Options{Name: "docker.io", URLs: []*url.URL{base}}); err != nil {
		f.t.Fatal(err)
	}
	if f.store, err = storage.Open(f.t.Context(), storage.Options{Path: f.dir, Limits: f.limits}); err != nil {
		f.t.Fatal(err)
	}
	f.cache = mirror.NewCache(mirror.CacheOptions{Records: f.store, Blobs: mirror.BlobsOf(f.store)})
	f.mirror, err = mirror.New(f.cache, mirror.Options{Upstreams: []mirror.Upstream{
		{Name: "docker.io", Remote: f.client, Freshness: mirror.Freshness{TagTTL: time.Hour}, Access: mirror.Access{Public: true}},
	}})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) close() {
	f.cache.Close()
	f.client.Close()
	if err := f.store.Close(); err != nil {
		f.t.Error(err)
	}
}

// want is an image by its reference.
func (f *fixture) want(ref string) image.PreloadWant {
	f.t.Helper()
	i, err := imagelist.Parse(ref)
	if err != nil {
		f.t.Fatal(err)
	}
	return image.PreloadWant{
		Image: i, Scope: oci.Scope{Upstream: i.Upstream, Repository: i.Repository}, Upstream: i.Upstream, Puller: f.mirror,
	}
}

// preload pulls images, and checks how many are complete.
func (f *fixture) preload(complete int, o image.PreloadOptions, refs ...string) []image.Report {
	f.t.Helper()
	var wants []image.PreloadWant
	for _, ref := range refs {
		wants = append(wants, f.want(ref))
	}
	reports, totals, err := image.Preload(f.t.Context(), f.store, wants, o)
	if err != nil {
		f.t.Fatal(err)
	}
	if totals.Images != len(refs) || totals.Complete != complete {
		f.t.Fatalf("%d of %d are complete, want %d: %s", totals.Complete, totals.Images, complete, show(reports))
	}
	return reports
}

// verify checks how many images are complete; the upstream must not notice.
func (f *fixture) verify(complete int, o image.VerifyOptions, refs ...string) ([]image.Report, image.Totals) {
	f.t.Helper()
	var wants []image.Want
	for _, ref := range refs {
		w := f.want(ref)
		wants = append(wants, image.Want{Image: w.Image, Scopes: []oci.Scope{w.Scope}})
	}
	before := f.registry.Count("", "")
	reports, totals, err := image.Verify(f.t.Context(), f.store, wants, o)
	if err != nil {
		f.t.Fatal(err)
	}
	if totals.Images != len(refs) || totals.Complete != complete {
		f.t.Fatalf("%d of %d are complete, want %d: %s", totals.Complete, totals.Images, complete, show(reports))
	}
	if n := f.registry.Count("", "") - before; n != 0 {
		f.t.Errorf("the upstream saw %d requests", n)
	}
	return reports, totals
}

func show(v any) string {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func platforms(t testing.TB, names ...string) (ps []image.Platform) {
	t.Helper()
	for _, name := range names {
		p, err := image.ParsePlatform(name)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

// putManifest stores a manifest over one config and blobs.
func (f *fixture) putManifest(repository, tag, config string, edit func(*ocispec.Manifest)) ocispec.Descriptor {
	f.t.Helper()
	layer := registrytest.Random(uint64(len(config)), 3000)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Size: int64(len(config)),
			Digest: f.registry.PutBlob(repository, []byte(config)),
		},
		Layers: []ocispec.Descriptor{{
			MediaType: ocispec.MediaTypeImageLayer, Size: int64(len(layer)), Digest: f.registry.PutBlob(repository, layer),
		}},
	}
	if edit != nil {
		edit(&m)
	}
	return f.put(repository, tag, m.MediaType, m)
}

func (f *fixture) put(repository, tag, mediaType string, v any) ocispec.Descriptor {
	f.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return ocispec.Descriptor{
		MediaType: mediaType, Size: int64(len(raw)), Digest: f.registry.PutManifest(repository, tag, mediaType, raw),
	}
}

// find returns the parts of a kind.
func find(r image.Report, kind image.Kind) (parts []image.PartReport) {
	for _, p := range r.Parts {
		if p.Kind == kind {
			parts = append(parts, p)
		}
	}
	return parts
}

// missing returns the digests of what a report misses.
func missing(r image.Report) (ds []digest.Digest) {
	for _, p := range r.Parts {
		for _, m := range p.Missing {
			ds = append(ds, m.Digest)
		}
	}
	return ds
}
