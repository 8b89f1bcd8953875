package storage

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

// tree is what the manifests of a scope point to.
type tree struct {
	contents  map[id]oci.Contents
	referrers map[id][]id // by subject, of the scope's own manifests
	dying     map[id]struct{}
	live      map[id]struct{}
}

// readTree reads the manifests that are linked to a scope.
func readTree(ctx context.Context, s *Store, txn *Txn, scope oci.Scope) (*tree, error) {
	t := &tree{
		contents: make(map[id]oci.Contents), referrers: make(map[id][]id),
		dying: make(map[id]struct{}), live: make(map[id]struct{}),
	}
	err := txn.Keys(ctx, scopedPrefix(tableLink, scope), func(it *Iterator) error {
		key := it.Key()
		i, ok := scopedID(key)
		if !ok {
			return nil
		}
		if txn.Lacks(tableKey(tableManifest, i)) {
			return nil
		}
		contents, err := s.contents(txn, i)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", i.digest(), err)
		}
		t.contents[i] = contents
		if contents.Subject != nil {
			if subject, err := idOf(contents.Subject.Digest); err == nil {
				t.referrers[subject] = append(t.referrers[subject], i)
			}
		}
		return nil
	})
	return t, err
}

// below returns what a manifest points to.
func (t *tree) below(i id) (ids []id) {
	contents := t.contents[i]
	for _, list := range [][]oci.Descriptor{contents.Manifests, contents.Blobs} {
		for _, d := range list {
			if child, err := idOf(d.Digest); err == nil {
				ids = append(ids, child)
			}
		}
	}
	return ids
}

// condemn marks what is below a manifest or refers to it, and that itself.
func (t *tree) condemn(root id) {
	for todo := []id{root}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, seen := t.dying[i]; seen {
			continue
		}
		t.dying[i] = struct{}{}
		todo = append(append(todo, t.below(i)...), t.referrers[i]...)
	}
}

// keep takes back what is below a manifest, and that itself.
func (t *tree) keep(root id) {
	for todo := []id{root}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, seen := t.live[i]; seen {
			continue
		}
		t.live[i] = struct{}{}
		delete(t.dying, i)
		todo = append(todo, t.below(i)...)
	}
}
