package storage

import (
	"context"
	"errors"
	"fmt"
)

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
	if s.index.Rebuilds() > 0 {
		return s, nil // it was damaged
	}
	if err := errors.Join(s.keeper.snapshotAll(ctx), s.Close()); err != nil {
		return nil, fmt.Errorf("rebuild index: %w", err)
	}
	o.rebuild = true
	return Open(ctx, o)
}

// snapshotAll writes a snapshot of a quiet store, and of what an older one holds
// that its index lacks. It returns an error only if ctx is done.
func (k *keeper) snapshotAll(ctx context.Context) error {
	if !k.index.IsOpen() {
		return nil
	}
	select {
	case <-k.restored:
		return k.snapshots.SaveAll(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}
