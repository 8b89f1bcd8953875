package storage

import (
	"context"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/integrity"
)

const (
	// A snapshot is written some time after the opening, each night and at the
	// end, if anything changed.
	snapshotFirst = 10 * time.Minute
	snapshotEvery = 24 * time.Hour
	// usesEvery is how often uses are written down: what a crash can lose.
	usesEvery = time.Minute
	// limitsEvery is how often the limits are looked at without being asked.
	limitsEvery = 10 * time.Minute
)

// keepHouse opens the index if it is not open yet, counts the blobs that it knows,
// and does what takes long, until ctx is done. Beside it others keep to the limits and
// scrub.
func (s *Store) keepHouse(ctx context.Context) {
	defer close(s.done)
	if s.quiet {
		s.keepQuiet(ctx)
		return
	}
	open := false
	s.life.Persist(ctx, "open index", func() { open = s.awaitIndex(ctx) })
	if !open {
		return
	}
	defer s.index.Opened().Discard()
	var background sync.WaitGroup
	background.Go(func() { s.keepLimits(ctx) })
	c := s.life.Chores()
	defer c.End()
	c.Do("restore index", func() { s.snapshots.Restore(ctx) })
	close(s.restored)
	if s.durability.Inherited() {
		c.Do("checkpoint", func() { s.durability.Checkpoint(s.lock) })
	}
	// Until they are counted, the limits are not known to be exceeded.
	c.Do("count blobs", func() { s.census.Count(ctx, s.index.Opened()) })
	s.limits.Soon()
	background.Go(func() {
		s.life.Persist(ctx, "scrub blobs", func() { (&integrity.Scrubber{Judge: s.judge, Retry: s.retry}).Keep(ctx) })
	})
	if !s.index.Small() {
		// Its opening did not wait for this.
		c.Do("verify index", func() { _ = s.index.Verify() })
	}
	look := time.NewTicker(limitsEvery)
	defer look.Stop()
	snapshot := time.NewTimer(snapshotFirst)
	defer snapshot.Stop()
	for {
		select {
		case <-look.C:
			c.Do("restore index", func() { s.snapshots.Restore(ctx) })
			c.Do("forget", func() { s.forgetting.soon(ctx, &background) })
			c.Do("checkpoint", func() { s.durability.Checkpoint(s.lock) })
		case <-snapshot.C:
			c.Do("save snapshot", func() { s.snapshots.Save(ctx, true) })
			snapshot.Reset(snapshotEvery)
		case done := <-s.replacing:
			c.Do("save snapshot", func() { s.snapshots.Save(ctx, false) })
			close(done)
		case <-c.Over():
			c.Again()
		case <-ctx.Done():
			background.Wait()
			s.judge.NoteUnaccounted()
			s.life.Survives("write uses", s.uses.Write)
			return
		}
	}
}

// keepLimits writes down uses and keeps to the limits, until ctx is done. Nothing of
// it takes long: who has a finished blob may be waiting for it.
func (s *Store) keepLimits(ctx context.Context) {
	c := s.life.Chores()
	defer c.End()
	evict := func() { s.eviction.Pass(ctx) }
	c.Do("evict blobs", evict)
	uses, limits := time.NewTicker(usesEvery), time.NewTicker(limitsEvery)
	defer uses.Stop()
	defer limits.Stop()
	for {
		select {
		case <-uses.C:
			c.Do("look for faults", s.index.NoteFaults)
			c.Do("write uses", s.uses.Write)
		case <-limits.C:
			c.Do("sweep parts", func() { s.eviction.Sweep(s.now().Add(-maxIdle)) })
			c.Do("evict blobs", evict)
			c.Do("make ballast", s.keepBallast)
		case <-s.limits.Kick:
			c.Do("record damage", s.index.RecordDamage)
			c.Do("evict blobs", evict)
		case <-c.Over():
			c.Again()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) keepBallast() {
	if err := s.ballast.Make(); err != nil {
		s.log.Warn("no ballast", "error", err)
	}
}
