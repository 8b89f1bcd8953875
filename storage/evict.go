package storage

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// evictBatch is how many blobs go in one transaction.
	evictBatch = 200
	// roomTime bounds how long the opening of an index waits for room.
	roomTime = 2 * time.Second
)

// eviction removes blobs until the limits are kept. One goroutine makes its passes.
type eviction struct {
	limits  *limits
	queue   *queue
	remover *remover
	parts   *parts
	opened  *opened
	uses    *useLog
	ballast *volume.Ballast
	index   *index.Index
	log     *slog.Logger
	now     func() time.Time
	clock   *clockWatch
	// pins returns what is pinned at present; an error means that nothing may go.
	pins *images.Pinning
	// from returns since when what was recorded is known to be pinned or not.
	from func() time.Time

	inodesLow  bool // when last looked at
	overpinned atomic.Bool
}

// pass removes blobs until the limits are kept, the least recently used first.
// A first scan finds the time before which everything has to go, a second one
// removes it: whatever the number of blobs, that takes no memory to speak of.
func (e *eviction) pass(ctx context.Context) {
	defer e.queue.begin()()
	space := e.limits.space
	e.remover.judge.RecordTrusted()
	e.uses.write()
	space.Forget()
	kept, now := e.limits.Load(), e.now()
	e.noteInodes()
	if e.limits.lacking() > 0 {
		e.sweep(now)
		space.Forget()
	}
	if space.CheckReserve() != nil {
		// What is evicted has to be written down.
		if err := e.ballast.Drop(); err != nil {
			e.log.Warn("evict blobs", "error", err)
		}
	}
	d := decision{now: now, withdrawn: e.parts.withdrawn.Load(), demand: e.limits.demand(), opened: e.opened, from: e.from()}
	e.limits.refused.Store(0)
	if kept.MaxUnused > 0 && e.clock.trusted() {
		d.unused = now.Add(-kept.MaxUnused)
	}
	if d.demand.none() && d.unused.IsZero() {
		if spared, _ := e.limits.ledger.Spared(); spared.Blobs == 0 {
			return
		}
	}
	err := e.index.View(func(txn *index.Txn) (err error) {
		if d.pins, err = e.pins.Resolve(ctx, txn); err == nil {
			err = d.decide(ctx, txn)
		}
		if err == nil {
			e.notePinned(kept, &d)
			err = e.carryOut(ctx, txn, &d)
		}
		return err
	})
	switch {
	case errors.Is(err, ErrNoIndex):
	case errors.Is(err, errWithdrawn):
		e.limits.soon()
	case err != nil && ctx.Err() == nil:
		e.log.Error("evict blobs", "error", err)
	}
}

// errWithdrawn means that somebody for whom blobs were to go has given up.
var errWithdrawn = errors.New("less is to go than was decided")

// sweep removes parts that were suspended before a time.
func (e *eviction) sweep(before time.Time) {
	if err := e.parts.sweep(before); err != nil {
		e.log.Warn("sweep suspended parts", "error", err)
	}
}

// noteInodes says when few inodes are left, and when that is over.
func (e *eviction) noteInodes() {
	free, total, low := e.limits.space.Inodes()
	if low == e.inodesLow {
		return
	}
	if e.inodesLow = low; low {
		e.log.Warn("file system is out of inodes: blobs are evicted, and no more are stored meanwhile", "free", free, "total", total)
	} else {
		e.log.Info("file system has inodes again", "free", free, "total", total)
	}
}

// notePinned remembers what a decision had to spare, and complains when pins alone
// exceed a limit.
func (e *eviction) notePinned(kept *Limits, d *decision) {
	e.limits.ledger.SetPinned(d.pinned, d.busy)
	over := kept.MaxSize > 0 && d.pinned.Bytes > kept.MaxSize
	for name, most := range kept.Upstreams {
		over = over || most > 0 && d.pinned.Upstreams[name] > most
	}
	if e.overpinned.Swap(over) != over && over {
		e.log.Error("pinned images exceed the limit by themselves: nothing more is stored until there are fewer, or the limit is raised",
			"bytes", d.pinned.Bytes, "limit", kept.MaxSize)
	}
}

// carryOut makes the second scan.
func (e *eviction) carryOut(ctx context.Context, txn *index.Txn, d *decision) error {
	ids := make([]volume.ID, 0, evictBatch)
	var blobs, bytes int64
	flush := func() error {
		gone, err := e.remover.remove(ids, func(volume.ID) bool { return false })
		e.remover.evicted(gone.Blobs, gone.Bytes)
		blobs, bytes, ids = blobs+gone.Blobs, bytes+gone.Bytes, ids[:0]
		return err
	}
	err := txn.Blobs(ctx, func(i volume.ID, r index.Blob, used index.Use) error {
		// A hit since the uses were written down saves the blob.
		if !d.goes(i, r, used) || e.uses.blobs.seen(i) {
			return nil
		}
		if ids = append(ids, i); len(ids) < cap(ids) {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		if e.parts.withdrawn.Load() != d.withdrawn {
			return errWithdrawn
		}
		return nil
	})
	err = errors.Join(err, flush())
	if blobs > 0 {
		e.log.Info("evicted blobs", "blobs", blobs, "bytes", bytes)
	}
	return err
}

// makeIndexRoom makes room for the index while it is not open, and so cannot say
// which blobs are used least: the ballast goes, then suspended parts, then old
// files. It returns ErrNoSpace if that is not enough.
func (e *eviction) makeIndexRoom(ctx context.Context) error {
	space := e.limits.space
	space.Forget()
	if space.CheckReserve() == nil {
		return nil
	}
	if err := e.ballast.Drop(); err != nil {
		e.log.Warn("no room for the index", "error", err)
	}
	if space.CheckReserve() == nil {
		e.log.Warn("ballast dropped to make room for the index")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomTime)
	defer cancel()
	e.sweep(e.now())
	space.Forget()
	if excess := e.limits.lacking(); excess > 0 {
		blobs, bytes, err := e.remover.removeOldest(ctx, excess)
		if err != nil && ctx.Err() == nil {
			e.log.Error("evict blobs without index", "error", err)
		}
		if blobs > 0 {
			e.remover.evicted(blobs, bytes)
			e.log.Info("evicted blobs without index", "blobs", blobs, "bytes", bytes)
		}
	}
	space.Forget()
	return space.CheckReserve()
}

// keep writes down uses and keeps to the limits, until ctx is done. Nothing of
// it takes long: who has a finished blob may be waiting for it.
func (e *eviction) keep(ctx context.Context) {
	c := e.remover.life.Chores()
	defer c.End()
	pass := func() { e.pass(ctx) }
	c.Do("evict blobs", pass)
	uses, limits := time.NewTicker(usesEvery), time.NewTicker(limitsEvery)
	defer uses.Stop()
	defer limits.Stop()
	for {
		select {
		case <-uses.C:
			c.Do("look for faults", e.index.NoteFaults)
			c.Do("write uses", e.uses.write)
		case <-limits.C:
			c.Do("sweep parts", func() { e.sweep(e.now().Add(-maxIdle)) })
			c.Do("evict blobs", pass)
			c.Do("make ballast", e.makeBallast)
		case <-e.limits.kick:
			c.Do("record damage", e.index.RecordDamage)
			c.Do("evict blobs", pass)
		case <-c.Over():
			c.Again()
		case <-ctx.Done():
			return
		}
	}
}

func (e *eviction) makeBallast() {
	if err := e.ballast.Make(); err != nil {
		e.log.Warn("no ballast", "error", err)
	}
}
