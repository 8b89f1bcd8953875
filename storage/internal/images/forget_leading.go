package images

import (
	"context"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// offline is what belongs to upstreams that are not asked. The zero value is nothing.
type offline struct {
	names  map[string]bool
	scopes map[string]bool // the hashes of scopes, as in keys
	keep   Set             // what is linked to one of them
}

// scopesOf returns the scopes of the upstreams of some names.
func scopesOf(ctx context.Context, txn *index.Txn, names []string) (offline, error) {
	o := offline{names: make(map[string]bool), scopes: make(map[string]bool), keep: Set{}}
	for _, name := range names {
		o.names[name] = true
		scopes, err := txn.Scopes(ctx, oci.Selection{Upstream: name})
		if err != nil {
			return offline{}, err
		}
		for _, scope := range scopes {
			o.scopes[string(index.ScopedPrefix(index.TableLink, scope)[1:])] = true
		}
	}
	return o, nil
}

// has reports whether a key of a table of scoped content is of one of them.
func (o offline) has(key []byte) bool { return o.scopes[string(key[1:1+index.ScopeLength])] }

// leads reports whether a manifest leads to all of its blobs, or to one of its
// manifests, where that is a reason to keep it.
func (f *forgetting) leads(i volume.ID) (bool, error) {
	if !f.leading {
		return false, nil
	}
	contents, err := f.Contents.Of(f.txn, i)
	if err != nil {
		return false, err
	}
	for _, m := range contents.Manifests {
		if child, err := volume.IDOf(m.Digest); err == nil && f.stored(child, index.TableManifest) {
			return true, nil
		}
	}
	for _, b := range contents.Blobs {
		if blob, err := volume.IDOf(b.Digest); err == nil && !f.stored(blob, index.TableBlob) {
			return false, nil
		}
	}
	return len(contents.Blobs) > 0, nil
}

// remembered reports whether a manifest is stored, where that is a reason to keep what
// points to it.
func (f *forgetting) remembered(i volume.ID) bool {
	return f.leading && f.stored(i, index.TableManifest)
}

// stored reports whether the index has something; in doubt, it has.
func (f *forgetting) stored(i volume.ID, table byte) bool {
	return !f.txn.Lacks(index.TableKey(table, i))
}
