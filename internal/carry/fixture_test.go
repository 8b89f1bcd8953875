package carry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, limits storage.Limits) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Options{Path: t.TempDir(), Limits: limits})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// sample is an image of two platforms with a config and two layers each.
type sample struct {
	name      bundle.Name
	index     oci.Manifest
	manifests []oci.Manifest
	blobs     []map[digest.Digest][]byte // by platform
}

func newSample(t testing.TB, name string, seed uint64, size int) *sample {
	t.Helper()
	n, err := bundle.ParseName(name)
	must(t, err)
	s := &sample{name: n}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for p, architecture := range []string{"amd64", "arm64"} {
		blobs := make(map[digest.Digest][]byte)
		put := func(mediaType string, b []byte) oci.Descriptor {
			blobs[oci.Sum(b)] = b
			return oci.Descriptor{MediaType: mediaType, Digest: oci.Sum(b), Size: int64(len(b))}
		}
		config, err := json.Marshal(ocispec.Image{Author: name, Platform: ocispec.Platform{OS: "linux", Architecture: architecture}})
		must(t, err)
		manifest := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: put(ocispec.MediaTypeImageConfig, config),
		}
		for l := range 2 {
			manifest.Layers = append(manifest.Layers, put(ocispec.MediaTypeImageLayerGzip, registrytest.Random(seed*100+uint64(10*p+l), size+l)))
		}
		raw, err := json.Marshal(manifest)
		must(t, err)
		m := oci.Manifest{MediaType: manifest.MediaType, Digest: oci.Sum(raw), Bytes: raw}
		d := m.Descriptor()
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, d)
		s.manifests, s.blobs = append(s.manifests, m), append(s.blobs, blobs)
	}
	raw, err := json.Marshal(index)
	must(t, err)
	s.index = oci.Manifest{MediaType: index.MediaType, Digest: oci.Sum(raw), Bytes: raw}
	return s
}

func (s *sample) scope() oci.Scope {
	return oci.Scope{Upstream: s.name.Upstream, Repository: s.name.Repository}
}

func (s *sample) want() image.Want {
	return image.Want{
		Image: imagelist.Image{
			Upstream: s.name.Upstream, Repository: s.name.Repository, Tag: s.name.Reference.Tag, Digest: s.name.Reference.Digest,
		},
		Scopes: []oci.Scope{s.scope()},
	}
}

// cache puts some platforms into a store, as pulls of them do.
func (s *sample) cache(t testing.TB, store *storage.Store, platforms ...int) {
	t.Helper()
	put := func(m oci.Manifest) {
		contents, err := oci.ParseManifest(m.Bytes)
		must(t, err)
		must(t, store.PutManifest(t.Context(), s.scope(), m, append(contents.Manifests, contents.Blobs...)))
	}
	for _, p := range platforms {
		for d, content := range s.blobs[p] {
			s.cacheBlob(t, store, d, content)
		}
		put(s.manifests[p])
	}
	put(s.index)
	must(t, store.PutTag(t.Context(), s.scope(), s.name.Reference.Tag, storage.Tag{
		Digest: s.index.Digest, MediaType: s.index.MediaType, Size: int64(len(s.index.Bytes)), Checked: time.Now(), Changed: time.Now(),
	}))
}

func (s *sample) cacheBlob(t testing.TB, store *storage.Store, d digest.Digest, content []byte) {
	t.Helper()
	part, err := store.Part(t.Context(), s.scope(), d, int64(len(content)))
	must(t, err)
	_, err = part.WriteAt(content, 0)
	must(t, errors.Join(err, part.Commit(int64(len(content))), part.Close()))
	must(t, store.Link(t.Context(), s.scope(), oci.Descriptor{Digest: d, Size: int64(len(content))}))
}

// export returns a bundle of samples.
func export(t testing.TB, store *storage.Store, o ExportOptions, samples ...*sample) ([]byte, ExportReport) {
	t.Helper()
	var wants []image.Want
	for _, s := range samples {
		wants = append(wants, s.want())
	}
	e, err := NewExport(t.Context(), store, wants, o)
	must(t, err)
	var b bytes.Buffer
	must(t, e.Write(t.Context(), bundle.NewWriter(&b), nil))
	return b.Bytes(), e.Report
}

// importRaw imports a bundle.
func importRaw(t testing.TB, store *storage.Store, raw []byte) (ImportReport, error) {
	t.Helper()
	r, err := bundle.OpenStream(bytes.NewReader(raw))
	if err != nil {
		return ImportReport{}, err
	}
	defer r.Close()
	if err := r.Index().Rename(bundle.Name{}); err != nil {
		return ImportReport{}, err
	}
	return Import(t.Context(), store, r, ImportOptions{})
}

// verify reports whether an image is complete for an offline mirror.
func (s *sample) complete(t testing.TB, store *storage.Store, platforms ...image.Platform) bool {
	t.Helper()
	reports, _, err := image.Verify(t.Context(), store, []image.Want{s.want()}, image.VerifyOptions{
		Choice: image.Choice{Platforms: platforms}, Deep: true,
	})
	must(t, err)
	return reports[0].Complete
}

// checkHidden checks that nothing of the samples can be asked for.
func checkHidden(t testing.TB, store *storage.Store, samples ...*sample) {
	t.Helper()
	catalog, err := store.Catalog(t.Context())
	must(t, err)
	defer catalog.Close()
	for scope, err := range catalog.Scopes(t.Context(), "") {
		t.Errorf("scope %v, %v", scope, err)
	}
	for _, s := range samples {
		for _, m := range append(s.manifests, s.index) {
			if _, err := store.Manifest(t.Context(), m.Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("manifest %s: %v", m.Digest, err)
			}
			if _, err := store.Linked(t.Context(), s.scope(), m.Digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("link of %s: %v", m.Digest, err)
			}
		}
	}
	if parts := store.Usage().Fills; parts > 0 {
		t.Errorf("%d parts are left", parts)
	}
}
