package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// pieces are the manifests and blobs of a bundle by digest.
type pieces map[digest.Digest][]byte

// sample makes an image of two platforms with a config and two layers each.
func sample(t testing.TB, name string, seed uint64) (Image, pieces) {
	t.Helper()
	return sized(t, name, seed, 3000)
}

// sized is sample with layers of a size.
func sized(t testing.TB, name string, seed uint64, size int) (Image, pieces) {
	t.Helper()
	all := pieces{}
	put := func(mediaType string, b []byte) oci.Descriptor {
		d := oci.Descriptor{MediaType: mediaType, Digest: oci.Sum(b), Size: int64(len(b))}
		all[d.Digest] = b
		return d
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	image := Image{Manifests: []digest.Digest{}}
	for n, architecture := range []string{"amd64", "arm64"} {
		manifest := ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: put(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"`+architecture+`","os":"linux","seed":`+string(rune('0'+seed%10))+`}`)),
		}
		for l := range 2 {
			manifest.Layers = append(manifest.Layers, put(ocispec.MediaTypeImageLayerGzip, registrytest.Random(seed*10+uint64(n*2+l), size+l)))
		}
		d := put(manifest.MediaType, encode(t, manifest))
		image.Manifests = append(image.Manifests, d.Digest)
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, d)
	}
	var err error
	if image.Name, err = ParseName(name); err != nil {
		t.Fatal(err)
	}
	image.Descriptor = put(index.MediaType, encode(t, index))
	return image, all
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reader hands out pieces as a Reader.
func reader(x Index, all pieces) *Reader {
	return &Reader{index: x, source: &anyOrder{content: &memory{all}}}
}

type memory struct{ pieces }

func (m *memory) open(name string) (piece, error) {
	b, ok := m.pieces[digestOf(name)]
	if !ok {
		return piece{}, os.ErrNotExist
	}
	return piece{io.NopCloser(bytes.NewReader(b)), name, int64(len(b))}, nil
}

// write returns a bundle as a tar.
func write(t testing.TB, x Index, all pieces) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Copy(NewWriter(&b), reader(x, all), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sampleBundle returns a bundle of two images, and what it holds.
func sampleBundle(t testing.TB) (raw []byte, x Index, all pieces) {
	t.Helper()
	a, all := sample(t, "docker.io/library/alpine:3.20", 1)
	b, more := sample(t, "ghcr.io/org/app:1", 2)
	maps.Copy(all, more)
	x = Index{Images: []Image{a, b}}
	return write(t, x, all), x, all
}

// readAll reads all of a bundle.
func readAll(r *Reader) (pieces, error) {
	all := pieces{}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if e.Manifest != nil {
			all[e.Descriptor.Digest] = e.Manifest.Bytes
			continue
		}
		b, err := io.ReadAll(e.Content)
		if err != nil {
			return all, err
		}
		all[e.Descriptor.Digest] = b
	}
}

// open opens a bundle in a file of that name.
func open(t testing.TB, name string, raw []byte) (*Reader, error) {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(name)
	if err == nil {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r, err
}

// entry is one of a tar that a test makes.
type entry struct {
	header tar.Header
	body   []byte
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.header.Typeflag == 0 {
			e.header.Typeflag = tar.TypeReg
		}
		if e.header.Typeflag == tar.TypeReg {
			e.header.Size = int64(len(e.body))
		}
		e.header.Mode = 0o644
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string, body []byte) entry { return entry{tar.Header{Name: name}, body} }

// untar returns the entries of a tar.
func untar(t testing.TB, raw []byte) (entries []entry) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{*h, b})
	}
}

// extract unpacks a tar into a folder.
func extract(t testing.TB, raw []byte) string {
	t.Helper()
	folder := t.TempDir()
	for _, e := range untar(t, raw) {
		name := filepath.Join(folder, filepath.FromSlash(e.header.Name))
		var err error
		if e.header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o700)
		} else {
			err = os.WriteFile(name, e.body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func same(a, b pieces) bool {
	return slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) &&
		maps.EqualFunc(a, b, bytes.Equal)
}
