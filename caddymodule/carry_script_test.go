package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// writeForeign writes a layout, and an archive, as other tools do.
func writeForeign(ts *testscript.TestScript, _ bool, _ []string) {
	image, err := random.Image(1000, 2)
	ts.Check(err)
	path, err := layout.Write(ts.MkAbs("foreign"), empty.Index)
	ts.Check(err)
	ts.Check(path.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "3.20"})))
	tag, err := name.NewTag("org/saved:1")
	ts.Check(err)
	ts.Check(tarball.WriteToFile(ts.MkAbs("foreign.tar"), tag, image))
}

// damageBundle copies a tar, with one bit of its last entry flipped.
func damageBundle(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte(ts.ReadFile(args[0]))
	end := len(b) - 1
	for b[end] == 0 {
		end--
	}
	b[end] ^= 4
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

// copyNames copies a bundle without its blobs.
func copyNames(ts *testscript.TestScript, _ bool, args []string) {
	r, err := bundle.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer r.Close()
	var b bytes.Buffer
	w := bundle.NewWriter(&b)
	ts.Check(w.Begin(*r.Index()))
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		if e.Manifest != nil {
			ts.Check(w.Manifest(*e.Manifest))
		}
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
}

// putBuildCache gives the upstream what BuildKit writes with mode=registry and
// image-manifest=false: layers and a config, listed by an index.
func putBuildCache(ts *testscript.TestScript, _ bool, _ []string) {
	upstream := ts.Value("upstream").(*registrytest.Server)
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for n, mediaType := range []string{ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerGzip, "application/vnd.buildkit.cacheconfig.v0"} {
		b := registrytest.Random(uint64(n), 2000)
		index.Manifests = append(index.Manifests, ocispec.Descriptor{MediaType: mediaType, Digest: upstream.PutBlob("library/cache", b), Size: 2000})
	}
	raw, err := json.Marshal(index)
	ts.Check(err)
	upstream.PutManifest("library/cache", "1", index.MediaType, raw)
}

// damageBlobs flips a bit in each blob of a storage.
func damageBlobs(t *testing.T, path string) {
	t.Helper()
	if err := filepath.WalkDir(filepath.Join(path, "blobs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 4
		return errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, b, 0o600))
	}); err != nil {
		t.Fatal(err)
	}
}
