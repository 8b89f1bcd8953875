package images

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// tree is what the manifests of a scope point to.
type tree struct {
	contents  map[volume.ID]oci.Contents
	referrers map[volume.ID][]volume.ID // by subject, of the scope's own manifests
	dying     map[volume.ID]struct{}
	live      map[volume.ID]struct{}
}

func newTree() *tree {
	return &tree{
		contents: make(map[volume.ID]oci.Contents), referrers: make(map[volume.ID][]volume.ID),
		dying: make(map[volume.ID]struct{}), live: make(map[volume.ID]struct{}),
	}
}

// readTree reads the manifests that are linked to a scope.
func readTree(ctx context.Context, c Contents, txn *index.Txn, scope oci.Scope) (*tree, error) {
	t := newTree()
	err := txn.Keys(ctx, index.ScopedPrefix(index.TableLink, scope), func(it *index.Iterator) error {
		key := it.Key()
		i, ok := index.ScopedID(key)
		if !ok {
			return nil
		}
		if txn.Lacks(index.TableKey(index.TableManifest, i)) {
			return nil
		}
		contents, err := c.Of(txn, i)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", i.Digest(), err)
		}
		t.contents[i] = contents
		if contents.Subject != nil {
			if subject, err := volume.IDOf(contents.Subject.Digest); err == nil {
				t.referrers[subject] = append(t.referrers[subject], i)
			}
		}
		return nil
	})
	return t, err
}

// below returns what a manifest points to.
func (t *tree) below(i volume.ID) (ids []volume.ID) {
	contents := t.contents[i]
	for _, list := range [][]oci.Descriptor{contents.Manifests, contents.Blobs} {
		for _, d := range list {
			if child, err := volume.IDOf(d.Digest); err == nil {
				ids = append(ids, child)
			}
		}
	}
	return ids
}

// condemn marks what is below a manifest or refers to it, and that itself.
func (t *tree) condemn(root volume.ID) {
	for todo := []volume.ID{root}; len(todo) > 0; {
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
func (t *tree) keep(root volume.ID) {
	for todo := []volume.ID{root}; len(todo) > 0; {
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
