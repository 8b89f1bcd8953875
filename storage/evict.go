package storage

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// usesEvery is how often uses are written down: what a crash can lose.
	usesEvery = time.Minute
	// limitsEvery is how often the limits are looked at without being asked.
	limitsEvery = 10 * time.Minute
	// evictBatch is how many blobs go in one transaction.
	evictBatch = 200
	// countStep is how many blobs are counted before others hear of it.
	countStep = 10_000
)

// keepHouseNow asks for a look at the limits, and does not wait.
func (s *Store) keepHouseNow() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// keepHouse opens the index if it is not open yet, counts the blobs that it knows,
// writes down uses and keeps to the limits, until ctx is done.
func (s *Store) keepHouse(ctx context.Context) {
	defer close(s.done)
	if s.quiet {
		s.keepQuiet(ctx)
		return
	}
	if !s.awaitIndex(ctx) {
		return
	}
	s.restore(ctx)
	close(s.restored)
	if db := s.db.Load(); !small(db) {
		// Its opening did not wait for this.
		_ = s.verifyIndex(db)
	}
	var scrubbing sync.WaitGroup
	defer scrubbing.Wait()
	scrubbing.Go(func() { s.keepScrubbed(ctx) })
	s.count(ctx, s.present)
	s.evict(ctx)
	uses, limits := time.NewTicker(usesEvery), time.NewTicker(limitsEvery)
	defer uses.Stop()
	defer limits.Stop()
	snapshot := time.NewTimer(snapshotFirst)
	defer snapshot.Stop()
	for {
		select {
		case <-uses.C:
			s.writeUses()
		case <-limits.C:
			if err := s.sweepParts(s.now().Add(-maxIdle)); err != nil {
				s.log.Warn("sweep suspended parts", "error", err)
			}
			s.restore(ctx)
			s.evict(ctx)
			s.checkpoint()
			if err := s.makeBallast(); err != nil {
				s.log.Warn("no ballast", "error", err)
			}
		case <-snapshot.C:
			s.saveSnapshot(ctx, true)
			snapshot.Reset(snapshotEvery)
		case <-s.kick:
			s.recordDamage()
			s.evict(ctx)
		case <-ctx.Done():
			s.writeUses()
			return
		}
	}
}

func (s *Store) count(ctx context.Context, present *badger.Txn) {
	defer present.Discard()
	var t tally
	err := scanBlobs(ctx, present, func(_ id, r blobRecord, _ useRecord) error {
		if t.add(r, 1); t.blobs == countStep {
			s.usage.add(t)
			t = tally{}
		}
		return nil
	})
	s.usage.add(t)
	if err == nil {
		s.usage.counted.Store(true)
	} else if ctx.Err() == nil {
		s.log.Error("count blobs", "error", err)
	}
}

// scanBlobs calls fn for each blob that is recorded. Both tables are sorted by
// id, so one walk through both brings uses and blobs together.
func scanBlobs(ctx context.Context, txn *badger.Txn, fn func(id, blobRecord, useRecord) error) error {
	blobs := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{tableBlob}})
	defer blobs.Close()
	uses := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{tableUse}})
	defer uses.Close()
	uses.Rewind()
	for blobs.Rewind(); blobs.Valid(); blobs.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		i := id(blobs.Item().Key()[1:])
		for uses.Valid() && id(uses.Item().Key()[1:]) < i {
			uses.Next()
		}
		var blob blobRecord
		var used useRecord
		var ok bool
		if err := blobs.Item().Value(func(v []byte) error { blob, ok = decodeBlob(v); return nil }); err != nil {
			return err
		}
		if !ok || !i.valid() {
			continue
		}
		if uses.Valid() && id(uses.Item().Key()[1:]) == i {
			if err := uses.Item().Value(func(v []byte) error { used, _ = decodeUse(v); return nil }); err != nil {
				return err
			}
		}
		if err := fn(i, blob, used); err != nil {
			return err
		}
	}
	return nil
}

// evict removes blobs until the limits are kept, the least recently used first.
// A first scan finds the time before which everything has to go, a second one
// removes it: whatever the number of blobs, that takes no memory to speak of.
func (s *Store) evict(ctx context.Context) {
	s.writeUses()
	s.space.forget()
	limits, now := *s.limits.Load(), s.now()
	if s.lacking(limits) > 0 {
		if err := s.sweepParts(now); err != nil {
			s.log.Warn("sweep suspended parts", "error", err)
		}
		s.space.forget()
	}
	if s.space.room() != nil {
		// What is evicted has to be written down.
		if err := s.dropBallast(); err != nil {
			s.log.Warn("evict blobs", "error", err)
		}
	}
	excess := s.excess(limits)
	s.wanted.Store(0)
	if excess <= 0 && limits.MaxUnused <= 0 {
		return
	}
	txn, err := s.begin()
	if err != nil {
		return
	}
	defer txn.Discard()
	d := decision{now: now, excess: excess}
	if limits.MaxUnused > 0 {
		d.unused = now.Add(-limits.MaxUnused)
	}
	err = d.decide(ctx, txn)
	if err == nil {
		err = s.carryOut(ctx, txn, &d)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("evict blobs", "error", err)
	}
}

// decision is which blobs go: all that were last used before unused or before
// cutoff, and of those at cutoff as many as share bytes.
type decision struct {
	now    time.Time
	excess int64
	unused time.Time

	cutoff int64
	share  int64
}

// decide makes the first scan.
func (d *decision) decide(ctx context.Context, txn *badger.Txn) error {
	bytes := make(map[int64]int64)
	err := scanBlobs(ctx, txn, func(_ id, r blobRecord, used useRecord) error {
		bytes[d.rank(lastUse(r, used))] += r.size
		return nil
	})
	d.share = d.excess
	for _, rank := range slices.Sorted(maps.Keys(bytes)) {
		if d.cutoff = rank; bytes[rank] >= d.share {
			break
		}
		d.share -= bytes[rank]
	}
	return err
}

// goes decides on one blob. It is asked once for each.
func (d *decision) goes(r blobRecord, used useRecord) bool {
	last := lastUse(r, used)
	rank := d.rank(last)
	switch {
	case last.Before(d.unused), d.excess > 0 && rank < d.cutoff:
		return true
	case rank == d.cutoff && d.share > 0:
		d.share -= r.size
		return true
	}
	return false
}

// lastUse is when a blob was last used, or stored. A use counts to the end of
// its hour, so that of two blobs of this hour the one that was asked for again
// outlives the one that was not.
func lastUse(r blobRecord, used useRecord) time.Time {
	if used == 0 || r.created.After(used.end()) {
		return r.created
	}
	return used.end()
}

// rank orders blobs by their last use: to the minute for the last day, to the
// hour before, which bounds the number of ranks. A time to come is now.
func (d *decision) rank(last time.Time) int64 {
	minute := min(last.Unix(), d.now.Unix()) / 60
	if d.now.Sub(last) > 24*time.Hour {
		minute -= minute % 60
	}
	return minute
}

// carryOut makes the second scan.
func (s *Store) carryOut(ctx context.Context, txn *badger.Txn, d *decision) error {
	ids := make([]id, 0, evictBatch)
	var blobs, bytes int64
	flush := func() error {
		n, freed, err := s.remove(ids)
		blobs, bytes, ids = blobs+n, bytes+freed, ids[:0]
		return err
	}
	err := scanBlobs(ctx, txn, func(i id, r blobRecord, used useRecord) error {
		// A hit since the uses were written down saves the blob.
		if !d.goes(r, used) || s.uses.seen(i) {
			return nil
		}
		if ids = append(ids, i); len(ids) == cap(ids) {
			return flush()
		}
		return nil
	})
	err = errors.Join(err, flush())
	if blobs > 0 {
		s.log.Info("evicted blobs", "blobs", blobs, "bytes", bytes)
	}
	return err
}

// remove removes blobs, and returns how many and how large they were: first the
// records, then the files. Where the disk is too full to write even that down,
// the files go first.
func (s *Store) remove(ids []id) (blobs, bytes int64, err error) {
	if len(ids) == 0 {
		return 0, 0, nil
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	drop := func() error {
		return s.index.update(len(ids)*linkBytes, func(b *batch) error {
			blobs, bytes = b.tally.blobs, b.tally.bytes
			for _, i := range ids {
				if err := b.dropBlob(i); err != nil {
					return err
				}
			}
			blobs, bytes = blobs-b.tally.blobs, bytes-b.tally.bytes
			return nil
		})
	}
	err = drop()
	full := errors.Is(err, ErrNoSpace)
	if err != nil && !full {
		return 0, 0, err
	}
	for _, i := range ids {
		if err := s.unlinkBlob(i); err != nil {
			s.log.Error("evict blob", "digest", i.digest(), "error", err)
		}
	}
	if full {
		s.space.forget()
		err = drop()
	}
	s.usage.evictedBlobs.Add(blobs)
	s.usage.evictedBytes.Add(bytes)
	return blobs, bytes, err
}
