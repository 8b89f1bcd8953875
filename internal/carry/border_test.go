package carry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// namesOnly returns a bundle that has the manifests of a sample under a name, and none
// of the blobs.
func namesOnly(t *testing.T, s *sample, name string, since ...digest.Digest) []byte {
	t.Helper()
	n, err := bundle.ParseName(name)
	must(t, err)
	var b bytes.Buffer
	w := bundle.NewWriter(&b)
	must(t, w.Begin(bundle.Index{Since: since, Images: []bundle.Image{{Name: n, Descriptor: s.index.Descriptor()}}}))
	for _, m := range append([]oci.Manifest{s.index}, s.manifests...) {
		must(t, w.Manifest(m))
	}
	must(t, w.Close())
	return b.Bytes()
}

func proven(t *testing.T, store *storage.Store, scope oci.Scope, d digest.Digest) bool {
	t.Helper()
	l, err := store.Linked(t.Context(), scope, d)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return l.Proven
}

// A bundle that only names blobs opens none of those that others have brought in.
func TestBundleOfNamesOpensNothing(t *testing.T) {
	for name, since := range map[string][]digest.Digest{"whole": nil, "continued": {oci.Sum([]byte("earlier"))}} {
		t.Run(name, func(t *testing.T) {
			to := openStore(t, storage.Limits{})
			private := newSample(t, "private.example/secret/app:1", 1, 500)
			private.cache(t, to, 0, 1)
			_, err := importRaw(t, to, namesOnly(t, private, "docker.io/library/mine:1", since...))
			if err == nil || !strings.Contains(err.Error(), "docker.io/library/mine:1") {
				t.Errorf("error is %v", err)
			}
			mine := oci.Scope{Upstream: "docker.io", Repository: "library/mine"}
			told := false
			for _, blobs := range private.blobs {
				for d := range blobs {
					told = told || err != nil && strings.Contains(err.Error(), d.String())
					if proven(t, to, mine, d) {
						t.Errorf("%s is linked", d)
					}
				}
			}
			if !told {
				t.Errorf("error names no digest: %v", err)
			}
			if _, err := to.Tag(t.Context(), mine, "1"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("tag: %v", err)
			}
			// Under its own name, the scope has them all.
			if _, err := importRaw(t, to, namesOnly(t, private, private.name.String(), since...)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where an image goes to several scopes, each of them has to have what is not brought.
func TestEachScopeHasToHaveIt(t *testing.T) {
	to := openStore(t, storage.Limits{})
	s := newSample(t, "docker.io/library/alpine:3", 1, 500)
	s.cache(t, to, 0, 1)
	r, err := bundle.NewStream(bytes.NewReader(namesOnly(t, s, s.name.String())))
	must(t, err)
	other := oci.Scope{Upstream: "docker.io#1", Repository: "library/alpine"}
	_, err = Import(t.Context(), to, r, ImportOptions{Scopes: func(bundle.Name) []oci.Scope { return []oci.Scope{s.scope(), other} }})
	if _, ok := errors.AsType[*bundle.DamageError](err); !ok {
		t.Errorf("error is %v", err)
	}
}

// single caches an image of one manifest with these blobs, and returns its name.
func single(t *testing.T, store *storage.Store, name string, blobs map[string][]byte, layers ...oci.Descriptor) image.Want {
	t.Helper()
	s := newSample(t, name, 1, 10)
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for mediaType, b := range blobs {
		d := oci.Descriptor{MediaType: mediaType, Digest: oci.Sum(b), Size: int64(len(b))}
		if _, err := store.StatBlob(t.Context(), d.Digest); err != nil {
			s.cacheBlob(t, store, d.Digest, b)
		}
		must(t, store.Link(t.Context(), s.scope(), d))
		if mediaType == ocispec.MediaTypeImageConfig {
			manifest.Config = d
		} else {
			manifest.Layers = append(manifest.Layers, d)
		}
	}
	manifest.Layers = append(manifest.Layers, layers...)
	s.putRoot(t, store, manifest.MediaType, manifest)
	return s.want()
}

// putRoot stores a manifest as what the tag of a sample means.
func (s *sample) putRoot(t *testing.T, store *storage.Store, mediaType string, v any) oci.Manifest {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	m := oci.Manifest{MediaType: mediaType, Digest: oci.Sum(raw), Bytes: raw}
	must(t, store.PutManifest(t.Context(), s.scope(), m, nil))
	must(t, store.PutTag(t.Context(), s.scope(), s.name.Reference.Tag, storage.Tag{Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(raw))}))
	return m
}

// exportWants returns a bundle of images.
func exportWants(t *testing.T, store *storage.Store, o ExportOptions, wants ...image.Want) ([]byte, ExportReport) {
	t.Helper()
	e, err := NewExport(t.Context(), store, wants, o)
	must(t, err)
	var b bytes.Buffer
	must(t, e.Write(t.Context(), bundle.NewWriter(&b), nil))
	return b.Bytes(), e.Report
}

// A layer that registries need not have may be missing, and is not opened either where
// somebody else has it.
func TestForeignLayerIsNotOpened(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	other := newSample(t, "private.example/secret/app:1", 7, 500)
	other.cache(t, to, 0)
	var secret oci.Descriptor
	for d, b := range other.blobs[0] {
		secret = oci.Descriptor{Digest: d, Size: int64(len(b))}
	}
	config := map[string][]byte{ocispec.MediaTypeImageConfig: []byte(`{"os":"windows","architecture":"amd64"}`)}
	for name, mediaType := range map[string]string{
		"docker.io/library/a:1": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"docker.io/library/b:1": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	} {
		secret.MediaType = mediaType
		want := single(t, from, name, config, secret)
		raw, report := exportWants(t, from, ExportOptions{}, want)
		if len(report.Images) != 1 || report.Blobs != 1 {
			t.Fatalf("export is %+v", report)
		}
		if _, err := importRaw(t, to, raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if proven(t, to, want.Scopes[0], secret.Digest) {
			t.Errorf("%s opens the blob of another repository", name)
		}
	}
}

// What an earlier bundle has for one repository, another one has to bring.
func TestSinceIsByRepository(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	shared := []byte("shared layer")
	blobs := func(config string) map[string][]byte {
		return map[string][]byte{ocispec.MediaTypeImageConfig: []byte(config), ocispec.MediaTypeImageLayer: shared}
	}
	// Names in this order, so that the repository that has it comes before those that
	// do not, and after.
	b := single(t, from, "docker.io/library/b:1", blobs(`{"b":1}`))
	first, _ := exportWants(t, from, ExportOptions{}, b)
	a, c := single(t, from, "docker.io/library/a:1", blobs(`{"a":1}`)), single(t, from, "docker.io/library/c:1", blobs(`{"c":1}`))
	has := map[string]map[digest.Digest]bool{"docker.io/library/b": {oci.Sum(shared): true, oci.Sum([]byte(`{"b":1}`)): true}}
	o := ExportOptions{Since: []digest.Digest{oci.Sum(first)}, Has: has}
	for _, wants := range [][]image.Want{{a, b}, {b, c}, {a, b, c}} {
		raw, report := exportWants(t, from, o, wants...)
		if report.LeftOut != 1 || report.Blobs != len(wants) || report.LeftOutBytes != 7 {
			t.Errorf("%d images: %+v", len(wants), report)
		}
		if _, err := importRaw(t, to, first); err != nil {
			t.Fatal(err)
		}
		if _, err := importRaw(t, to, raw); err != nil {
			t.Errorf("%d images: %v", len(wants), err)
		}
	}
	if raw, report := exportWants(t, from, o, b); report.LeftOut != 2 || report.Blobs != 0 {
		t.Errorf("%+v of %d bytes", report, len(raw))
	}
}

// A build cache whose layers an index lists goes the whole way, and one that lacks a
// layer does not.
func TestBuildCache(t *testing.T) {
	from, to := openStore(t, storage.Limits{}), openStore(t, storage.Limits{})
	s := newSample(t, "docker.io/org/cache:1", 1, 10)
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for mediaType, text := range map[string]string{ocispec.MediaTypeImageLayerGzip: "layer", "application/vnd.buildkit.cacheconfig.v0": "config"} {
		d := oci.Descriptor{MediaType: mediaType, Digest: oci.Sum([]byte(text)), Size: int64(len(text))}
		s.cacheBlob(t, from, d.Digest, []byte(text))
		index.Manifests = append(index.Manifests, d)
	}
	s.index = s.putRoot(t, from, index.MediaType, index)
	raw, report := export(t, from, ExportOptions{}, s)
	if len(report.Images) != 1 || report.Manifests != 1 || report.Blobs != 2 {
		t.Fatalf("export is %+v", report)
	}
	imported, err := importRaw(t, to, raw)
	if err != nil || imported.Blobs != 2 || !s.complete(t, to) {
		t.Errorf("import is %+v, %v", imported, err)
	}
	index.Manifests = append(index.Manifests, oci.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: oci.Sum([]byte("none")), Size: 4})
	s.putRoot(t, from, index.MediaType, index)
	e, err := NewExport(t.Context(), from, []image.Want{s.want()}, ExportOptions{})
	if err != nil || len(e.Report.Images) != 0 || len(e.Report.Missing) != 1 {
		t.Errorf("export is %+v, %v", e, err)
	}
}
