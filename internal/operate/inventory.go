package operate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
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

// RemoveRequest removes an upstream, a repository, or an image of one.
type RemoveRequest struct {
	Path      string
	Selection oci.Selection
	// DryRun only tells what would go.
	DryRun bool
}

// Parameters returns the query.
func (q *RemoveRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "selection": selection(&q.Selection), "dry_run": flag(&q.DryRun)}
}

// Remove implements Gateway.
func (l *Local) Remove(ctx context.Context, q RemoveRequest, tell func(RemoveLine)) error {
	return all(l, q.Path, tell, func(s *Store, progress func(storage.RemoveReport)) (storage.RemoveReport, error) {
		report, err := s.Remove(ctx, storage.RemoveOptions{Selection: q.Selection, DryRun: q.DryRun, Progress: progress})
		if pinned, ok := errors.AsType[*storage.PinnedError](err); ok {
			if pinned.Stored {
				return report, fmt.Errorf("%w: pullgate mirror unpin %s, then try again", err, pinned.Pin)
			}
			return report, fmt.Errorf("%w, in the configuration: take it out there, then try again", err)
		}
		return report, s.suggest(ctx, q.Selection, err)
	})
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
