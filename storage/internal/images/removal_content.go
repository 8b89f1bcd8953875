package images

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// The passes in which an image goes.
const (
	passBlobs = iota
	passManifests
	passRoot
	passes
)

// content removes the content of all parts, and the links to it.
func (r *removal) content(ctx context.Context) error {
	for _, p := range r.order {
		some := make([]volume.ID, 0, batch)
		flush := func() error {
			if len(some) == 0 {
				return nil
			}
			err := r.step(p, some)
			some = some[:0]
			if r.Progress != nil && err == nil {
				r.Progress(r.report)
			}
			return err
		}
		add := func(i volume.ID) error {
			if some = append(some, i); len(some) < cap(some) {
				return nil
			}
			return flush()
		}
		for pass := range passes {
			err := r.each(ctx, p, func(i volume.ID) error {
				if p.ids[i] != pass {
					return nil
				}
				return add(i)
			})
			if err := errors.Join(err, flush()); err != nil {
				return err
			}
		}
		if err := r.referrers(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// referrers drops those lists of a whole scope that belong to nothing linked.
func (r *removal) referrers(ctx context.Context, p *removalPart) error {
	if p.ids != nil || r.DryRun {
		return nil
	}
	return r.txn.Keys(ctx, index.ScopedPrefix(index.TableReferrers, p.scope), func(it *index.Iterator) error {
		key := it.Key()
		key = bytes.Clone(key)
		if i, ok := index.ScopedID(key); ok && r.again.has(i) {
			return nil
		}
		return r.Index.Update(len(key), func(b *index.Batch) error {
			if !b.Has(key) {
				return nil // it went with its link
			}
			return b.Delete(key)
		})
	})
}

// each calls fn for each id of a part that is linked.
func (r *removal) each(ctx context.Context, p *removalPart, fn func(volume.ID) error) error {
	return r.txn.Keys(ctx, index.ScopedPrefix(index.TableLink, p.scope), func(it *index.Iterator) error {
		key := it.Key()
		if i, ok := index.ScopedID(key); ok && p.has(i) {
			return fn(i)
		}
		return nil
	})
}

// step removes some of the content of a part.
func (r *removal) step(p *removalPart, some []volume.ID) error {
	links, content := make([]volume.ID, 0, len(some)), make([]volume.ID, 0, len(some))
	for _, i := range some {
		switch {
		case r.elsewhere.Has(i):
			r.report.Shared += r.stored(i)
		case r.pins.Has(i) || r.spare(i):
			r.report.InUse += r.stored(i)
			continue
		case !r.done.Has(i):
			r.done.add(i)
			content = append(content, i)
		}
		links = append(links, i)
	}
	if r.DryRun {
		for _, i := range content {
			r.count(i)
		}
		return nil
	}
	left, err := r.drop(content)
	if err != nil {
		return err
	}
	return r.unlink(p, links, content, left)
}

// spare reports whether something is not to be taken from who uses it.
func (r *removal) spare(i volume.ID) bool {
	return r.again.has(i) || r.Blobs.InUse(i)
}

// drop removes content from the disk, and returns what stays there.
func (r *removal) drop(content []volume.ID) (left map[volume.ID]struct{}, err error) {
	left = make(map[volume.ID]struct{})
	gone, err := r.Blobs.RemoveBlobs(slices.Clone(content), r.spare)
	r.report.Blobs, r.report.Bytes = r.report.Blobs+gone.Blobs, r.report.Bytes+gone.Bytes
	// What leads to a blob that could not be removed stays, too.
	if err = errors.Join(err, gone.Stuck); err != nil {
		return nil, err
	}
	for _, i := range gone.Spared {
		left[i] = struct{}{}
		r.report.InUse++
	}
	for _, i := range content {
		if _, ok := left[i]; ok {
			continue
		}
		if err := r.Blobs.RemoveParts(i); err != nil {
			return left, err
		}
	}
	return left, nil
}

// unlink drops links, referrers and manifests.
func (r *removal) unlink(p *removalPart, links, content []volume.ID, left map[volume.ID]struct{}) error {
	if len(links) == 0 {
		return nil
	}
	gone := make(map[volume.ID]bool, len(content))
	for _, i := range content {
		gone[i] = true
	}
	var manifests int64
	err := r.Index.Update(len(links)*index.LinkBytes, func(b *index.Batch) error {
		manifests = 0
		for _, i := range links {
			if _, ok := left[i]; ok || r.again.has(i) {
				continue
			}
			keys := make([][]byte, 0, 4)
			for _, table := range []byte{index.TableLink, index.TableReferrers} {
				keys = append(keys, append(index.ScopedPrefix(table, p.scope), i...))
			}
			if gone[i] {
				if b.Has(index.TableKey(index.TableManifest, i)) {
					manifests++
				}
				keys = append(keys, index.TableKey(index.TableManifest, i), index.TableKey(index.TableManifestUse, i), index.OriginKey(i, p.scope.Upstream))
			}
			for _, key := range keys {
				if b.Has(key) {
					if err := b.Delete(key); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	r.report.Manifests += manifests
	return err
}

// orphans removes what an upstream brought in and nobody has any more.
func (r *removal) orphans(ctx context.Context) error {
	if r.Selection.Repository != "" {
		return nil
	}
	var some []volume.ID
	flush := func() error {
		content := some
		some = nil
		if r.DryRun {
			for _, i := range content {
				r.count(i)
			}
			return nil
		}
		_, err := r.drop(content)
		return err
	}
	err := r.txn.Blobs(ctx, func(i volume.ID, b index.Blob, _ index.Use) error {
		if r.done.Has(i) || r.elsewhere.Has(i) || r.pins.Has(i) || r.spare(i) ||
			oci.UpstreamName(b.Origin) != r.Selection.Upstream {
			return nil
		}
		if some = append(some, i); len(some) < batch {
			return nil
		}
		return flush()
	})
	return errors.Join(err, flush())
}
