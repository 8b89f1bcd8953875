package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// evictBatch is how many blobs go in one transaction.
const evictBatch = 200

// evict removes blobs until the limits are kept, the least recently used first.
// A first scan finds the time before which everything has to go, a second one
// removes it: whatever the number of blobs, that takes no memory to speak of.
// Only keepLimits calls it.
func (s *Store) evict(ctx context.Context) {
	defer s.looks.begin()()
	s.judge.RecordTrusted()
	s.writeUses()
	s.space.Forget()
	limits, now := *s.limits.Load(), s.now()
	s.tellNodes()
	if s.lacking(limits) > 0 {
		if err := s.sweepParts(now); err != nil {
			s.log.Warn("sweep suspended parts", "error", err)
		}
		s.space.Forget()
	}
	if s.space.CheckReserve() != nil {
		// What is evicted has to be written down.
		if err := s.ballast.Drop(); err != nil {
			s.log.Warn("evict blobs", "error", err)
		}
	}
	d := decision{now: now, withdrawn: s.usage.withdrawn.Load(), demand: s.demand(limits), opened: &s.opened}
	s.wanted.Store(0)
	if limits.MaxUnused > 0 && s.clockTrusted() {
		d.unused = now.Add(-limits.MaxUnused)
	}
	if !s.isRestored() {
		d.from = s.born.Truncate(time.Second) // of what was here before, it is not known yet what is pinned
	}
	if d.demand.none() && d.unused.IsZero() {
		if spared, _ := s.usage.Spared(); spared.Blobs == 0 {
			return
		}
	}
	txn, err := s.index.Begin()
	if err != nil {
		return
	}
	defer txn.Discard()
	d.pins, err = s.Pinning.Resolve(ctx, txn)
	if err == nil {
		err = d.decide(ctx, txn)
	}
	if err == nil {
		s.notePinned(limits, &d)
		err = s.carryOut(ctx, txn, &d)
	}
	switch {
	case errors.Is(err, errWithdrawn):
		s.keepHouseNow()
	case err != nil && ctx.Err() == nil:
		s.log.Error("evict blobs", "error", err)
	}
}

// errWithdrawn means that somebody for whom blobs were to go has given up.
var errWithdrawn = errors.New("less is to go than was decided")

// tellNodes says when inodes get scarce, and when they no longer are.
func (s *Store) tellNodes() {
	free, total, scarce := s.space.Inodes()
	if scarce == s.scarce {
		return
	}
	if s.scarce = scarce; scarce {
		s.log.Warn("file system is out of inodes: blobs are evicted, and no more are stored meanwhile", "free", free, "total", total)
	} else {
		s.log.Info("file system has inodes again", "free", free, "total", total)
	}
}

// carryOut makes the second scan.
func (s *Store) carryOut(ctx context.Context, txn *index.Txn, d *decision) error {
	ids := make([]volume.ID, 0, evictBatch)
	var blobs, bytes int64
	flush := func() error {
		n, freed, err := s.remove(ids)
		blobs, bytes, ids = blobs+n, bytes+freed, ids[:0]
		return err
	}
	err := txn.Blobs(ctx, func(i volume.ID, r index.Blob, used index.Use) error {
		// A hit since the uses were written down saves the blob.
		if !d.goes(i, r, used) || s.uses.seen(i) {
			return nil
		}
		if ids = append(ids, i); len(ids) < cap(ids) {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		if s.usage.withdrawn.Load() != d.withdrawn {
			return errWithdrawn
		}
		return nil
	})
	err = errors.Join(err, flush())
	if blobs > 0 {
		s.log.Info("evicted blobs", "blobs", blobs, "bytes", bytes)
	}
	return err
}

// remove evicts blobs, and returns how many and how large they were.
func (s *Store) remove(ids []volume.ID) (blobs, bytes int64, err error) {
	r, err := s.removeBlobs(ids, func(volume.ID) bool { return false })
	s.usage.evictedBlobs.Add(r.Blobs)
	s.usage.evictedBytes.Add(r.Bytes)
	return r.Blobs, r.Bytes, err
}

// removeBlobs removes blobs, but for those that are to be spared at the last moment:
// first the records, then the files. Where the disk is too full to write even that
// down, the files go first.
func (s *Store) removeBlobs(ids []volume.ID, spare func(volume.ID) bool) (r images.Removed, err error) {
	if len(ids) == 0 {
		return r, nil
	}
	ids = slices.DeleteFunc(ids, func(i volume.ID) bool {
		if !spare(i) {
			return false
		}
		r.Spared = append(r.Spared, i)
		return true
	})
	defer s.judge.Removals.Begin(slices.Clone(ids))()
	var dropped map[volume.ID]index.Blob
	drop := func() error {
		dropped = make(map[volume.ID]index.Blob)
		return s.index.Update(len(ids)*index.LinkBytes, func(b *index.Batch) error {
			r.Blobs, r.Bytes = b.Tally.Blobs, b.Tally.Bytes
			for _, i := range ids {
				if old, known := b.Blob(i); known {
					dropped[i] = old
				}
				if err := b.DropBlob(i); err != nil {
					return err
				}
			}
			r.Blobs, r.Bytes = r.Blobs-b.Tally.Blobs, r.Bytes-b.Tally.Bytes
			return nil
		})
	}
	err = drop()
	full := errors.Is(err, ErrNoSpace)
	if err != nil && !full {
		return images.Removed{}, err
	}
	var stuck []volume.ID
	ids = slices.DeleteFunc(ids, func(i volume.ID) bool {
		err := s.guard("evict blob", func() error { return s.judge.Unlink(i) })
		if err != nil {
			s.log.Error("remove blob", "digest", i.Digest(), "error", err)
			stuck, r.Stuck = append(stuck, i), err
		} else {
			s.usage.progress.Add(1)
		}
		return err != nil
	})
	s.space.Forget()
	switch {
	case full:
		err = drop()
	case len(stuck) > 0:
		// What still takes space is accounted for, and tried again.
		for _, i := range stuck {
			if old, ok := dropped[i]; ok {
				r.Blobs, r.Bytes = r.Blobs-1, r.Bytes-old.Size
			}
		}
		err = s.index.Update(len(stuck)*index.LinkBytes, func(b *index.Batch) error {
			for _, i := range stuck {
				if old, ok := dropped[i]; ok {
					if err := b.PutBlob(i, old); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			for _, i := range stuck {
				s.judge.Suspects.Trust(i)
			}
		}
	}
	return r, err
}
