package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// InventoryRequest asks what stores hold of an upstream or of a repository; without a
// selection, by upstream. Without a path it is about all stores.
type InventoryRequest struct {
	Path      string
	Selection oci.Selection
}

// Parameters returns the query.
func (q *InventoryRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "selection": selection(&q.Selection)}
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
		return report, err
	})
}
