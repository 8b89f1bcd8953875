package images

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Resolve returns what the pins of limits and store mean at present: the
// manifests that their tags and digests name, and all below them. An error means
// that it is not known, and nothing may go.
func (p *Pinning) Resolve(ctx context.Context, txn *index.Txn) (Set, error) {
	pins, _, err := p.all(txn)
	if err != nil {
		return nil, err
	}
	return p.resolve(ctx, txn, pins)
}

func (p *Pinning) resolve(ctx context.Context, txn *index.Txn, pins []oci.Pin) (Set, error) {
	if len(pins) == 0 {
		return nil, nil
	}
	roots, err := pinnedRoots(ctx, txn, pins)
	if err != nil {
		return nil, fmt.Errorf("resolve pins: %w", err)
	}
	found := Set{}
	for len(roots) > 0 {
		i := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if found.Has(i) {
			continue
		}
		found.add(i)
		contents, err := p.contents.Of(txn, i)
		if err != nil {
			return nil, fmt.Errorf("resolve pins: manifest %s: %w", i.Digest(), err)
		}
		for _, d := range contents.Manifests {
			if child, err := volume.IDOf(d.Digest); err == nil {
				roots = append(roots, child)
			}
		}
		for _, d := range contents.Blobs {
			if blob, err := volume.IDOf(d.Digest); err == nil {
				found.add(blob)
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// pinnedRoots returns the manifests that the pins name.
func pinnedRoots(ctx context.Context, txn *index.Txn, pins []oci.Pin) ([]volume.ID, error) {
	var roots []volume.ID
	upstreams := make(map[string][]oci.Pin)
	for _, p := range pins {
		if p.Digest == "" {
			upstreams[p.Upstream] = append(upstreams[p.Upstream], p)
		} else if i, err := volume.IDOf(p.Digest); err == nil {
			roots = append(roots, i)
		}
	}
	for name, pins := range upstreams {
		err := txn.Tags(ctx, name, func(scope oci.Scope, tag string, value []byte) error {
			for _, p := range pins {
				if !p.Match(scope, tag) {
					continue
				}
				if t, ok := index.DecodeTag(value); ok {
					if i, err := volume.IDOf(t.Digest); err == nil {
						roots = append(roots, i)
					}
				}
				break
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return roots, nil
}
