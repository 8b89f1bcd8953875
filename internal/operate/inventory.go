package operate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
)

// InventoryRequest asks what stores hold of an upstream or of a repository; without a
// selection, by upstream. Without a path it is about all stores.
type InventoryRequest struct {
	Path      string
	Selection oci.Selection
	// Disk asks what the files of a store take, too.
	Disk bool
}

// Parameters returns the query.
func (q *InventoryRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "selection": selection(&q.Selection), "disk": flag(&q.Disk)}
}

// suggest says what was meant, if err says that nothing is stored of a selection.
func (s *Store) suggest(ctx context.Context, sel oci.Selection, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	upstreams := s.names(ctx, oci.Selection{})
	if !slices.Contains(upstreams, sel.Upstream) {
		if whole := oci.WholeName(sel.String()); whole != "" {
			return fmt.Errorf("%w (did you mean %s?)", err, whole)
		}
		return fmt.Errorf("%w%s", err, nearest.Hint(sel.Upstream, upstreams))
	}
	repository := oci.Selection{Upstream: sel.Upstream, Repository: sel.Repository}
	repositories := s.names(ctx, oci.Selection{Upstream: sel.Upstream})
	if !slices.Contains(repositories, repository.String()) {
		return fmt.Errorf("%w%s", err, nearest.Hint(repository.String(), repositories))
	}
	return fmt.Errorf("%w%s", err, nearest.Hint(sel.Reference.Tag, s.names(ctx, repository)))
}

// names returns those of what is stored of a selection, part by part, and the tags of a
// repository.
func (s *Store) names(ctx context.Context, sel oci.Selection) (names []string) {
	held, _ := s.Inventory(ctx, sel) // of what cannot be told, nothing is near
	for _, h := range held.Holdings {
		if h.Image != nil {
			h.Name = h.Image.Tag
		}
		names = append(names, h.Name)
	}
	return names
}
