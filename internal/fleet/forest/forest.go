// Package forest finds out what images consist of.
package forest

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/oci"
)

// readers is how many manifests are read at a time.
const readers = 16

// Forest is what manifests lead to. One goroutine at a time uses it.
type Forest struct {
	// Read reads a manifest. One that leads nowhere, or is nowhere, is no error.
	Read  func(context.Context, digest.Digest) (oci.Contents, error)
	known map[digest.Digest]oci.Contents
}

// Walk returns digests, and all that they lead to.
func (f *Forest) Walk(ctx context.Context, roots map[digest.Digest]bool) (map[digest.Digest]bool, error) {
	all := map[digest.Digest]bool{}
	for level := slices.Collect(maps.Keys(roots)); len(level) > 0; {
		if err := f.readAll(ctx, level); err != nil {
			return nil, err
		}
		var below []digest.Digest
		for _, d := range level {
			all[d] = true
			for _, blob := range f.known[d].Blobs {
				all[blob.Digest] = true
			}
			for _, child := range f.known[d].Manifests {
				if !all[child.Digest] {
					below = append(below, child.Digest)
				}
			}
		}
		level = below
	}
	return all, nil
}

// readAll reads those manifests that are not known yet.
func (f *Forest) readAll(ctx context.Context, ds []digest.Digest) error {
	if f.known == nil {
		f.known = map[digest.Digest]oci.Contents{}
	}
	ds = slices.DeleteFunc(slices.Clone(ds), func(d digest.Digest) bool { _, known := f.known[d]; return known })
	found := make([]oci.Contents, len(ds))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for n, d := range ds {
		group.Go(func() (err error) {
			found[n], err = f.Read(ctx, d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, d := range ds {
		f.known[d] = found[n]
	}
	return nil
}
