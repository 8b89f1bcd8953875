package storage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/life"
)

const (
	// A snapshot is written some time after the opening, each night and at the
	// end, if anything changed.
	snapshotFirst = 10 * time.Minute
	snapshotEvery = 24 * time.Hour
	// usesEvery is how often uses are written down: what a crash can lose. The index is
	// measured as often.
	usesEvery = time.Minute
	// limitsEvery is how often the limits are looked at without being asked.
	limitsEvery = 10 * time.Minute
)

// keeper keeps house: it opens the index, restores and counts what that knows, and does
// again and again what takes long.
type keeper struct {
	home       *home
	index      *index.Index
	snapshots  *index.Snapshots
	judge      *integrity.Judge
	durability *integrity.Durability
	census     *eviction.Census
	eviction   *eviction.Eviction
	forgetting *forgetting
	life       *life.Life
	log        *slog.Logger

	// What the options of these names say.
	quiet, inspect bool
	retry          time.Duration

	restored chan struct{} // closed when the index was restored, if it had to be
	done     chan struct{} // closed when the house keeper is done
}

// run opens the index if it is not open yet, counts the blobs that it knows,
// and does what takes long, until ctx is done. Beside it others keep to the limits and
// scrub.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	if k.quiet {
		k.keepQuiet(ctx)
		return
	}
	open := false
	k.life.Persist(ctx, "open index", func() { open = k.awaitIndex(ctx) })
	if !open {
		return
	}
	defer k.index.Opened().Discard()
	var background sync.WaitGroup
	background.Go(func() { k.keepLimits(ctx) })
	c := k.life.Chores()
	defer c.End()
	c.Do("restore index", func() { k.snapshots.Restore(ctx) })
	close(k.restored)
	if k.durability.Inherited() {
		c.Do("checkpoint", func() { k.durability.Checkpoint(k.home.lock) })
	}
	// Until they are counted, the limits are not known to be exceeded.
	c.Do("count blobs", func() { k.census.Count(ctx, k.index.Opened()) })
	k.eviction.Limits.Soon()
	background.Go(func() {
		k.life.Persist(ctx, "scrub blobs", func() { (&integrity.Scrubber{Judge: k.judge, Retry: k.retry}).Keep(ctx) })
	})
	if !k.index.Small() {
		// Its opening did not wait for this.
		c.Do("verify index", func() { _ = k.index.Verify() })
	}
	look := time.NewTicker(limitsEvery)
	defer look.Stop()
	snapshot := time.NewTimer(snapshotFirst)
	defer snapshot.Stop()
	for {
		select {
		case <-look.C:
			c.Do("restore index", func() { k.snapshots.Restore(ctx) })
			c.Do("forget", func() { k.forgetting.soon(ctx, &background) })
			c.Do("checkpoint", func() { k.durability.Checkpoint(k.home.lock) })
		case <-snapshot.C:
			c.Do("save snapshot", func() { k.snapshots.Save(ctx, true) })
			snapshot.Reset(snapshotEvery)
		case done := <-k.snapshots.Asked():
			c.Do("save snapshot", func() { k.snapshots.Save(ctx, false) })
			close(done)
		case <-c.Over():
			c.Again()
		case <-ctx.Done():
			background.Wait()
			k.judge.NoteUnaccounted()
			k.life.Survives("write uses", k.eviction.Uses.Write)
			return
		}
	}
}

// keepQuiet is what the house keeper of a quiet store does.
func (k *keeper) keepQuiet(ctx context.Context) {
	if k.index.IsOpen() {
		defer k.index.Opened().Discard()
		if !k.inspect {
			k.life.Survives("restore index", func() { k.snapshots.Restore(ctx) })
		}
		close(k.restored)
		k.life.Persist(ctx, "count blobs", func() { k.census.Count(ctx, k.index.Opened()) })
	}
	<-ctx.Done()
	if !k.inspect {
		k.judge.NoteUnaccounted()
		k.life.Survives("write uses", k.eviction.Uses.Write)
	}
}

// keepLimits writes down uses and keeps to the limits, until ctx is done. Nothing of
// it takes long: who has a finished blob may be waiting for it.
func (k *keeper) keepLimits(ctx context.Context) {
	c := k.life.Chores()
	defer c.End()
	pass := func() { k.eviction.Pass(ctx) }
	c.Do("evict blobs", pass)
	uses, limits := time.NewTicker(usesEvery), time.NewTicker(limitsEvery)
	defer uses.Stop()
	defer limits.Stop()
	for {
		select {
		case <-uses.C:
			c.Do("look for faults", k.index.NoteFaults)
			c.Do("write uses", k.eviction.Uses.Write)
			c.Do("measure index", k.index.Measure)
		case <-limits.C:
			c.Do("sweep parts", func() { k.eviction.Sweep(k.eviction.Now().Add(-maxIdle)) })
			c.Do("evict blobs", pass)
			c.Do("make ballast", k.makeBallast)
		case <-k.eviction.Limits.Kick:
			c.Do("record damage", k.index.RecordDamage)
			c.Do("evict blobs", pass)
		case <-c.Over():
			c.Again()
		case <-ctx.Done():
			return
		}
	}
}

func (k *keeper) makeBallast() {
	if err := k.home.ballast.Make(); err != nil {
		k.log.Warn("no ballast", "error", err)
	}
}
