package fleet

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/oci"
)

// forest is what manifests lead to. One goroutine at a time uses it.
type forest struct {
	// read reads a manifest. One that leads nowhere, or is nowhere, is no error.
	read  func(context.Context, digest.Digest) (oci.Contents, error)
	known map[digest.Digest]oci.Contents
}

// walk returns digests, and all that they lead to.
func (f *forest) walk(ctx context.Context, roots map[digest.Digest]bool) (map[digest.Digest]bool, error) {
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
func (f *forest) readAll(ctx context.Context, ds []digest.Digest) error {
	if f.known == nil {
		f.known = map[digest.Digest]oci.Contents{}
	}
	ds = slices.DeleteFunc(slices.Clone(ds), func(d digest.Digest) bool { _, known := f.known[d]; return known })
	found := make([]oci.Contents, len(ds))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for n, d := range ds {
		group.Go(func() (err error) {
			found[n], err = f.read(ctx, d)
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

// contents reads a manifest of the bucket, and returns what it leads to. One that is not
// there, or is none, leads nowhere.
func (d *depot) contents(ctx context.Context, of digest.Digest) (none oci.Contents, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	d.counts.reads.Add(1)
	o, err := d.objects.Get(ctx, manifestKey(of), 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	defer o.Close()
	raw, err := io.ReadAll(io.LimitReader(o, oci.MaxManifestSize+1))
	if err != nil || !oci.Verify(of, raw) {
		return none, err
	}
	_, contents, _ := oci.DecodeManifest(strings.TrimPrefix(o.ContentType, untyped), raw)
	return contents, nil
}
