package operate

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pullgate/pullgate/storage"
)

// CheckRequest checks a store, or all in turn. A store is checked once at a time.
type CheckRequest struct {
	Path string
	// Verify reads every blob, Repair mends what is found.
	Verify, Repair bool
	// Rate is how much to read per second at most; 0 = no limit.
	Rate int64
	// Rebuild is refused: only a command that has the store for itself can.
	Rebuild bool
}

// Parameters returns the query.
func (q *CheckRequest) Parameters() Parameters {
	rebuild := flag(&q.Rebuild)
	return Parameters{
		"path": text(&q.Path), "verify": flag(&q.Verify), "repair": flag(&q.Repair), "rate": rate(&q.Rate),
		"rebuild": {func(value string) error {
			if err := rebuild.read(value); err != nil || !q.Rebuild {
				return err
			}
			return ErrRebuildOpen
		}, rebuild.write},
	}
}

// Check implements Gateway.
func (l *Local) Check(ctx context.Context, q CheckRequest, tell func(CheckLine)) error {
	todo, err := l.at(q.Path)
	if err != nil {
		return err
	}
	locked := make([]*Store, 0, len(todo))
	defer func() {
		for _, s := range locked {
			s.checking.Unlock()
		}
	}()
	for _, s := range todo {
		if !s.checking.TryLock() {
			return refuse(http.StatusConflict, fmt.Errorf("the store at %s is being checked", s.Path))
		}
		locked = append(locked, s)
	}
	onStores(todo, tell, func(s *Store, progress func(storage.CheckProgress)) (storage.CheckReport, error) {
		locked = locked[1:] // while the next ones are checked, this one is free
		defer s.checking.Unlock()
		return s.Check(ctx, storage.CheckOptions{Verify: q.Verify, Repair: q.Repair, Rate: q.Rate, Progress: progress})
	})
	return nil
}
