package caddymodule

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
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
