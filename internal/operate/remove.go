package operate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

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

// RemoveReport is what was removed.
type RemoveReport struct {
	storage.RemoveReport

	// Fleet is what went from the bucket that gateways share; nil = there is none.
	Fleet *fleet.Purged `json:"fleet,omitempty"`
}

// Remove implements Gateway.
func (l *Local) Remove(ctx context.Context, q RemoveRequest, tell func(RemoveLine)) error {
	return all(l, q.Path, tell, func(s *Store, progress func(RemoveReport)) (RemoveReport, error) {
		report, err := s.remove(ctx, q, progress)
		if pinned, ok := errors.AsType[*storage.PinnedError](err); ok {
			if pinned.Stored {
				return report, fmt.Errorf("%w: pullgate mirror unpin %s, then try again", err, pinned.Pin)
			}
			return report, fmt.Errorf("%w, in the configuration: take it out there, then try again", err)
		}
		return report, s.suggest(ctx, q.Selection, err)
	})
}

// remove removes from a store, and before that from the bucket that it shares, so that
// nothing comes back from there. What is only there counts, too.
func (s *Store) remove(ctx context.Context, q RemoveRequest, progress func(RemoveReport)) (report RemoveReport, err error) {
	o := storage.RemoveOptions{Selection: q.Selection, DryRun: q.DryRun}
	if s.Fleet != nil {
		if report.Fleet, err = s.purge(ctx, q); err != nil {
			return report, err
		}
	}
	o.Progress = func(r storage.RemoveReport) { progress(RemoveReport{r, report.Fleet}) }
	report.RemoveReport, err = s.Remove(ctx, o)
	if errors.Is(err, fs.ErrNotExist) && !report.Fleet.None() {
		err = nil
	}
	return report, err
}

// purge removes from the bucket what is not pinned here.
func (s *Store) purge(ctx context.Context, q RemoveRequest) (*fleet.Purged, error) {
	_, err := s.Store.Remove(ctx, storage.RemoveOptions{Selection: q.Selection, DryRun: true})
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case q.DryRun:
		return s.Fleet.PlanPurge(ctx, q.Selection)
	}
	return s.Fleet.Purge(ctx, q.Selection)
}
