package storage

import (
	"context"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// usesEvery is how often uses are written down: what a crash can lose.
	usesEvery = time.Minute
	// limitsEvery is how often the limits are looked at without being asked.
	limitsEvery = 10 * time.Minute
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
	// Until they are counted, the limits are not known to be exceeded.
	s.count(ctx, s.present)
	if db := s.db.Load(); !small(db) {
		// Its opening did not wait for this.
		_ = s.verifyIndex(db)
	}
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { s.keepScrubbed(ctx) })
	s.evict(ctx)
	uses, limits := time.NewTicker(usesEvery), time.NewTicker(limitsEvery)
	defer uses.Stop()
	defer limits.Stop()
	snapshot := time.NewTimer(snapshotFirst)
	defer snapshot.Stop()
	for {
		select {
		case <-uses.C:
			s.noteFaults()
			s.writeUses()
		case <-limits.C:
			if err := s.sweepParts(s.now().Add(-maxIdle)); err != nil {
				s.log.Warn("sweep suspended parts", "error", err)
			}
			s.restore(ctx)
			s.evict(ctx)
			s.forgetSoon(ctx, &background)
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
			s.recordTrusted()
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
