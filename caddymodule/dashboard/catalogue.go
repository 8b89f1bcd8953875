package dashboard

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

const (
	// namesAge and sizesAge are for how long names and sizes are believed. The latter
	// take a walk over everything that is stored.
	namesAge = 3 * time.Second
	sizesAge = 15 * time.Second
)

// catalogue is what is cached, by name, and how large it is.
type catalogue struct {
	names *recent[[]repository]
	// sizes are by selection, and in each by the name of the holding.
	sizes *recent[map[string]storage.Holding]
	// next are the blobs that go first.
	next *recent[idle]
}

// idle are the blobs that go first, and the bytes of those that never do.
type idle struct {
	blobs  []storage.IdleBlob
	pinned int64
}

// idleBlobs returns those of all stores.
func idleBlobs(ctx context.Context, stores []*operate.Store) (all idle, err error) {
	for _, s := range stores {
		some, pinned, err := s.Idle(ctx, maxNext)
		if err != nil {
			return idle{}, err
		}
		all.blobs, all.pinned = append(all.blobs, some...), all.pinned+pinned
	}
	slices.SortStableFunc(all.blobs, func(a, b storage.IdleBlob) int { return a.Used.Compare(b.Used) })
	all.blobs = all.blobs[:min(len(all.blobs), maxNext)]
	return all, nil
}

// repository is one scope of a store and what it has.
type repository struct {
	scope oci.Scope
	tags  []storage.CatalogTag
}

func newCatalogue(ctx context.Context, g *operate.Local) *catalogue {
	return &catalogue{
		names: &recent[[]repository]{ctx: ctx, age: namesAge, find: func(ctx context.Context, _ string) ([]repository, error) {
			return repositories(ctx, g.Stores())
		}},
		sizes: &recent[map[string]storage.Holding]{ctx: ctx, age: sizesAge, find: func(ctx context.Context, key string) (map[string]storage.Holding, error) {
			return holdings(ctx, g, key)
		}},
		next: &recent[idle]{ctx: ctx, age: sizesAge, find: func(ctx context.Context, _ string) (idle, error) {
			return idleBlobs(ctx, g.Stores())
		}},
	}
}

// changed is called when images were removed or pulled.
func (c *catalogue) changed() {
	c.names.forget()
	c.sizes.forget()
	c.next.forget()
}

// repositories returns all repositories with their tags, in order of upstream and name.
func repositories(ctx context.Context, stores []*operate.Store) ([]repository, error) {
	found := map[oci.Scope]*repository{}
	at := func(scope oci.Scope) *repository {
		if found[scope] == nil {
			found[scope] = &repository{scope: scope}
		}
		return found[scope]
	}
	for _, s := range stores {
		catalog, err := s.Catalog(ctx)
		if err != nil {
			return nil, err
		}
		for scope, err := range catalog.Scopes(ctx, "") {
			if err != nil {
				catalog.Close()
				return nil, err
			}
			at(scope)
		}
		for tag, err := range catalog.Tags(ctx, "", "") {
			if err != nil {
				catalog.Close()
				return nil, err
			}
			r := at(tag.Scope)
			r.tags = append(r.tags, tag)
		}
		catalog.Close()
	}
	sorted := make([]repository, 0, len(found))
	for _, r := range found {
		sorted = append(sorted, *r)
	}
	slices.SortFunc(sorted, func(a, b repository) int {
		return cmp.Or(cmp.Compare(a.scope.String(), b.scope.String()), cmp.Compare(a.scope.Upstream, b.scope.Upstream))
	})
	return sorted, nil
}

// holdings returns what stores hold of a selection, by the names of its parts.
func holdings(ctx context.Context, g *operate.Local, selection string) (map[string]storage.Holding, error) {
	q := operate.InventoryRequest{}
	if selection != "" {
		var err error
		if q.Selection, err = oci.ParseSelection(selection); err != nil {
			return nil, refuse(400, err.Error())
		}
	}
	held, failed := map[string]storage.Holding{}, ""
	err := g.Inventory(ctx, q, func(line operate.InventoryLine) {
		if line.Error != "" && !line.Nothing {
			failed = line.Error
		}
		if line.Report == nil {
			return
		}
		for _, h := range line.Report.Holdings {
			if other, ok := held[h.Name]; ok { // of another store
				h.Bytes, h.OwnBytes, h.Blobs = h.Bytes+other.Bytes, h.OwnBytes+other.OwnBytes, h.Blobs+other.Blobs
			}
			held[h.Name] = h
		}
	})
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case failed != "":
		return nil, errors.New(failed)
	}
	return held, nil
}
