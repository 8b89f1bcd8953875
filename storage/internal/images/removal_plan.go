package images

import (
	"context"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// plan finds out what goes.
func (r *removal) plan(ctx context.Context) error {
	scopes, err := r.txn.Scopes(ctx, r.Selection)
	if err != nil {
		return err
	}
	r.parts = make(map[string]*removalPart)
	for _, scope := range scopes {
		p := &removalPart{scope: scope, tags: make(map[string]struct{})}
		if r.Selection.Reference != (oci.Reference{}) {
			found, err := r.image(ctx, p)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
		}
		if err := r.tagsOf(ctx, p); err != nil {
			return err
		}
		r.order = append(r.order, p)
		r.parts[string(index.ScopedPrefix(index.TableLink, scope))] = p
	}
	if len(r.order) == 0 {
		return errNothing
	}
	return nil
}

// tagsOf adds the tags of a part.
func (r *removal) tagsOf(ctx context.Context, p *removalPart) error {
	return r.txn.ScopeTags(ctx, p.scope, func(name string, key, value []byte) error {
		if _, ok := p.tags[name]; ok || p.ids == nil {
			p.tags[name] = struct{}{}
			r.tags = append(r.tags, index.CopyOf(key, value))
		}
		return nil
	})
}

// image finds out what goes of one scope with a tag or a digest. Nothing is found
// where the scope has neither.
func (r *removal) image(ctx context.Context, p *removalPart) (found bool, err error) {
	var root volume.ID
	kept := make(map[volume.ID]struct{}) // what other tags point to
	ref := r.Selection.Reference
	if ref.IsDigest() {
		if root, err = volume.IDOf(ref.Digest); err != nil {
			return false, err
		}
		if r.txn.Has(append(index.ScopedPrefix(index.TableLink, p.scope), root...)) {
			found = true
		}
	}
	err = r.txn.ScopeTags(ctx, p.scope, func(name string, _, value []byte) error {
		t, ok := index.DecodeTag(value)
		i, err := volume.IDOf(t.Digest)
		known := ok && err == nil
		switch {
		case name == ref.Tag || ref.IsDigest() && known && i == root:
			p.tags[name], found = struct{}{}, true
			if known {
				root = i
			}
		case known:
			kept[i] = struct{}{}
		}
		return nil
	})
	if err != nil || !found {
		return false, err
	}
	p.ids = make(map[volume.ID]int)
	if _, shared := kept[root]; root == "" || shared {
		return true, nil // only the tag goes
	}
	t, err := readTree(ctx, r.Contents, r.txn, p.scope)
	if err != nil {
		return false, err
	}
	t.condemn(root)
	for i := range t.contents {
		if _, dying := t.dying[i]; !dying {
			kept[i] = struct{}{}
		}
	}
	if ref.IsDigest() {
		t.live[root] = struct{}{} // not for the sake of an index that names it
	}
	for i := range kept {
		t.keep(i)
	}
	// What leads to the rest goes last, so that the rest is found again.
	for i := range t.dying {
		p.ids[i] = passBlobs
		if _, ok := t.contents[i]; ok {
			p.ids[i] = passManifests
		}
	}
	if _, dying := t.dying[root]; dying {
		p.ids[root] = passRoot
	}
	return true, nil
}

// stored returns 1 if there is a manifest or a blob of the digest, else 0.
func (r *removal) stored(i volume.ID) int64 {
	for _, table := range []byte{index.TableManifest, index.TableBlob} {
		if r.txn.Has(index.TableKey(table, i)) {
			return 1
		}
	}
	return 0
}

// count counts what would go.
func (r *removal) count(i volume.ID) {
	if r.txn.Has(index.TableKey(index.TableManifest, i)) {
		r.report.Manifests++
	}
	if b, ok := index.Load(r.txn, index.TableKey(index.TableBlob, i), index.DecodeBlob); ok {
		r.report.Blobs++
		r.report.Bytes += b.Size
	}
}

// refusePinned returns a *PinnedError if pins mean what goes.
func (r *removal) refusePinned(ctx context.Context) error {
	pins, configured, err := r.Pins.all(r.txn)
	if err != nil || len(pins) == 0 {
		return err
	}
	by := func(image string, n int) error {
		return &PinnedError{Image: image, Pin: pins[n].String(), Stored: n >= configured}
	}
	for _, p := range r.order {
		for name := range p.tags {
			for n, pin := range pins {
				if pin.Match(p.scope, name) {
					return by(p.scope.String()+":"+name, n)
				}
			}
		}
	}
	if r.pins, err = r.Pins.resolve(ctx, r.txn, pins); err != nil {
		return err
	}
	for _, p := range r.order {
		err := r.each(ctx, p, func(i volume.ID) error {
			if !r.pins.Has(i) {
				return nil
			}
			if !r.txn.Has(index.TableKey(index.TableManifest, i)) && i.Digest() != r.Selection.Reference.Digest {
				return nil // it is a blob, and stays if nobody else has it
			}
			for n, pin := range pins {
				if r.elsewhere.Has(i) && !pin.Names(p.scope) {
					continue // which goes on to have it
				}
				means, err := r.Pins.resolve(ctx, r.txn, pins[n:n+1])
				if err != nil {
					return err
				}
				if means.Has(i) {
					return by(p.scope.String()+"@"+i.Digest().String(), n)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
