package storage

import (
	"context"
	"time"
)

// replacePatience is how long a removal waits for a snapshot without what it removed.
const replacePatience = 30 * time.Second

// isRestored reports whether the index has what a snapshot holds, if need be.
func (s *Store) isRestored() bool {
	select {
	case <-s.restored:
		return true
	default:
		return false
	}
}

// replaceSnapshots has a snapshot written in place of those that hold what was removed:
// no index that is lost later brings it back. A quiet store does that with its end.
func (s *Store) replaceSnapshots(ctx context.Context) {
	if !s.snapshots.Outdate() {
		return
	}
	if s.quiet {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, replacePatience)
	defer cancel()
	done := make(chan struct{})
	select {
	case s.replacing <- done:
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	if s.snapshots.Outdated() {
		s.log.Warn("snapshots of the index still hold what was removed: they are replaced with the next one")
	}
}
