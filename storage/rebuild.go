package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

var errRebuild = errors.New("that was asked for")

// Rebuild opens the store at o.Path, which has to be one, and begins its index
// anew: the old one is set aside, and tags, manifests and links come back from a
// snapshot, which is made of the old index first if that can be read. The blobs
// are adopted by a Check with Verify and Repair, or else each at its first use, or
// when the next Store that is not Quiet finds it.
// The store is Quiet. Errors are as those of Open.
func Rebuild(ctx context.Context, o Options) (*Store, error) {
	o.Existing, o.Quiet, o.Inspect = true, true, false
	s, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	if s.usage.indexRebuilds.Load() > 0 {
		return s, nil // it was damaged
	}
	if err := errors.Join(s.snapshotAll(ctx), s.Close()); err != nil {
		return nil, fmt.Errorf("rebuild index: %w", err)
	}
	o.rebuild = true
	return Open(ctx, o)
}

// snapshotAll writes a snapshot of a quiet store, and of what an older one holds
// that its index lacks. It returns an error only if ctx is done.
func (s *Store) snapshotAll(ctx context.Context) error {
	db := s.db.Load()
	if db == nil {
		return nil
	}
	select {
	case <-s.restored:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.state.Restore {
		return nil // the snapshot knows more than the index
	}
	records, err := s.writeSnapshot(ctx, db, true)
	if err != nil {
		s.log.Warn("no snapshot of the index before it is rebuilt", "error", err)
		return ctx.Err()
	}
	s.noteState(func(st *volume.State) { st.Records = records })
	return nil
}

// keepQuiet is what the house keeper of a quiet store does.
func (s *Store) keepQuiet(ctx context.Context) {
	if s.db.Load() != nil {
		defer s.openSnapshot.Discard()
		if !s.inspect {
			s.survives("restore index", func() { s.restore(ctx) })
		}
		close(s.restored)
		s.persist(ctx, "count blobs", func() { s.count(ctx) })
	}
	<-ctx.Done()
	if !s.inspect {
		s.judge.NoteUnaccounted()
		s.survives("write uses", s.writeUses)
	}
}
