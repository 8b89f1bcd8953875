package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

var (
	// scopeGone is the one that scenarios remove, seedGone its blobs: two and one
	// that another has, too, of its image, and one of a signature.
	scopeGone = oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}
	seedGone  = []uint64{110, 111, 112, 113}
)

// seedRemoved stores an image that scenarios remove, with a signature. One of its
// blobs is another repository's, too.
func seedRemoved(t *testing.T, s *Store) {
	t.Helper()
	image := putTagged(t, s, scopeGone, "gone", nil, seedGone[:3]...)
	putTagged(t, s, scopeGone, "", &image, seedGone[3])
	if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: blobOf(112), Size: 1000}); err != nil {
		t.Fatal(err)
	}
}

// removeSeed removes the image, or what of it is there.
func removeSeed(name string) func(*world) {
	return func(w *world) {
		for _, seed := range seedGone {
			if seed != 112 {
				delete(w.must, blobOf(seed))
			}
		}
		sel, err := oci.ParseSelection(name)
		if err != nil {
			w.problem("%v", err)
		}
		_, _ = w.s.Remove(context.Background(), RemoveOptions{Selection: sel})
	}
}

// removedSeed removes it, and looks whether it is gone.
func removedSeed(name string) func(*world) {
	return func(w *world) {
		sel, err := oci.ParseSelection(name)
		if err == nil {
			_, err = w.s.Remove(context.Background(), RemoveOptions{Selection: sel})
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.problem("remove again: %v", err)
		}
		w.wantRemoved()
	}
}

// wantRemoved looks for what is left of the image.
func (w *world) wantRemoved() {
	for _, seed := range seedGone {
		d := blobOf(seed)
		if seed == 112 {
			continue
		}
		i, _ := idOf(d)
		if _, err := os.Lstat(filepath.Join(w.dir, i.blobPath())); !errors.Is(err, fs.ErrNotExist) {
			w.problem("blob %d is left: %v", seed, err)
		}
		if _, err := w.s.Linked(context.Background(), scopeGone, d); !errors.Is(err, fs.ErrNotExist) {
			w.problem("link to blob %d is left: %v", seed, err)
		}
	}
	shared := blobOf(112)
	if _, err := w.s.Tag(context.Background(), scopeGone, "gone"); !errors.Is(err, fs.ErrNotExist) {
		w.problem("tag is left: %v", err)
	}
	if _, err := w.s.Linked(context.Background(), scope, shared); err != nil {
		w.problem("link of another repository is lost: %v", err)
	}
	if _, err := w.s.StatBlob(context.Background(), shared); err != nil {
		w.problem("blob of another repository is lost: %v", err)
	}
}
