package eviction

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
	// Batch is how many blobs go in one transaction.
	Batch = 200
	// roomTime bounds how long the opening of an index waits for room.
	roomTime = 2 * time.Second
)

// Options are what an eviction works with.
type Options struct {
	Limits  *Budget
	Queue   *Queue
	Remover *Remover
	Uses    *UseLog
	Ballast *volume.Ballast
	Index   *index.Index
	Clock   *Clock
	Log     *slog.Logger
	Now     func() time.Time
	// SweepParts removes the parts that were suspended before a time.
	SweepParts func(before time.Time) error
	// InUse reports whether a blob is open.
	InUse func(volume.ID) bool
	// Pins returns what is pinned at present; an error means that nothing may go.
	Pins func(context.Context, *index.Txn) (images.Set, error)
	// From returns since when what was recorded is known to be pinned or not.
	From func() time.Time
}

// Eviction removes blobs until the limits are kept. One goroutine makes its passes.
type Eviction struct {
	Options

	inodesLow  bool // when last looked at
	Overpinned atomic.Bool
}

// New returns an eviction that has removed nothing yet.
func New(o Options) *Eviction { return &Eviction{Options: o} }

// Pass removes blobs until the limits are kept, the least recently used first.
// A first scan finds the time before which everything has to go, a second one
// removes it: whatever the number of blobs, that takes no memory to speak of.
func (e *Eviction) Pass(ctx context.Context) {
	defer e.Queue.begin()()
	space := e.Limits.space
	e.Remover.judge.RecordTrusted()
	e.Uses.Write()
	space.Forget()
	kept, now := e.Limits.Load(), e.Now()
	e.noteInodes()
	if e.Limits.Lacking() > 0 {
		e.Sweep(now)
		space.Forget()
	}
	if space.CheckReserve() != nil {
		// What is evicted has to be written down.
		if err := e.Ballast.Drop(); err != nil {
			e.Log.Warn("evict blobs", "error", err)
		}
	}
	d := decision{now: now, withdrawn: e.Limits.withdrawn.Load(), demand: e.Limits.Demand(), inUse: e.InUse, from: e.From()}
	e.Limits.Refused.Store(0)
	if kept.MaxUnused > 0 && e.Clock.Trusted() {
		d.unused = now.Add(-kept.MaxUnused)
	}
	if d.demand.None() && d.unused.IsZero() {
		if spared, _ := e.Limits.ledger.Spared(); spared.Blobs == 0 {
			return
		}
	}
	err := e.Index.View(func(txn *index.Txn) (err error) {
		if d.pins, err = e.Pins(ctx, txn); err == nil {
			err = d.decide(ctx, txn)
		}
		if err == nil {
			e.notePinned(kept, &d)
			err = e.carryOut(ctx, txn, &d)
		}
		return err
	})
	switch {
	case errors.Is(err, index.ErrNoIndex):
	case errors.Is(err, errWithdrawn):
		e.Limits.Soon()
	case err != nil && ctx.Err() == nil:
		e.Log.Error("evict blobs", "error", err)
	}
}

// errWithdrawn means that somebody for whom blobs were to go has given up.
var errWithdrawn = errors.New("less is to go than was decided")

// Sweep removes parts that were suspended before a time.
func (e *Eviction) Sweep(before time.Time) {
	if err := e.SweepParts(before); err != nil {
		e.Log.Warn("sweep suspended parts", "error", err)
	}
}

// noteInodes says when few inodes are left, and when that is over.
func (e *Eviction) noteInodes() {
	free, total, low := e.Limits.space.Inodes()
	if low == e.inodesLow {
		return
	}
	if e.inodesLow = low; low {
		e.Log.Warn("file system is out of inodes: blobs are evicted, and no more are stored meanwhile", "free", free, "total", total)
	} else {
		e.Log.Info("file system has inodes again", "free", free, "total", total)
	}
}

// notePinned remembers what a decision had to spare, and complains when pins alone
// exceed a limit.
func (e *Eviction) notePinned(kept *Limits, d *decision) {
	e.Limits.ledger.SetPinned(d.pinned, d.busy)
	over := kept.MaxSize > 0 && d.pinned.Bytes > kept.MaxSize
	for name, most := range kept.Upstreams {
		over = over || most > 0 && d.pinned.Upstreams[name] > most
	}
	if e.Overpinned.Swap(over) != over && over {
		e.Log.Error("pinned images exceed the limit by themselves: nothing more is stored until there are fewer, or the limit is raised",
			"bytes", d.pinned.Bytes, "limit", kept.MaxSize)
	}
}

// carryOut makes the second scan.
func (e *Eviction) carryOut(ctx context.Context, txn *index.Txn, d *decision) error {
	ids := make([]volume.ID, 0, Batch)
	var blobs, bytes int64
	flush := func() error {
		gone, err := e.Remover.Remove(ids, func(volume.ID) bool { return false })
		e.Remover.evicted(gone.Blobs, gone.Bytes)
		blobs, bytes, ids = blobs+gone.Blobs, bytes+gone.Bytes, ids[:0]
		return err
	}
	err := txn.Blobs(ctx, func(i volume.ID, r index.Blob, used index.Use) error {
		// A hit since the uses were written down saves the blob.
		if !d.goes(i, r, used) || e.Uses.Blobs.Seen(i) {
			return nil
		}
		if ids = append(ids, i); len(ids) < cap(ids) {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		if e.Limits.withdrawn.Load() != d.withdrawn {
			return errWithdrawn
		}
		return nil
	})
	err = errors.Join(err, flush())
	if blobs > 0 {
		e.Log.Info("evicted blobs", "blobs", blobs, "bytes", bytes)
	}
	return err
}

// MakeIndexRoom makes room for the index while it is not open, and so cannot say
// which blobs are used least: the ballast goes, then suspended parts, then old
// files. It returns ErrNoSpace if that is not enough.
func (e *Eviction) MakeIndexRoom(ctx context.Context) error {
	space := e.Limits.space
	space.Forget()
	if space.CheckReserve() == nil {
		return nil
	}
	if err := e.Ballast.Drop(); err != nil {
		e.Log.Warn("no room for the index", "error", err)
	}
	if space.CheckReserve() == nil {
		e.Log.Warn("ballast dropped to make room for the index")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomTime)
	defer cancel()
	e.Sweep(e.Now())
	space.Forget()
	if excess := e.Limits.Lacking(); excess > 0 {
		blobs, bytes, err := e.Remover.RemoveOldest(ctx, excess)
		if err != nil && ctx.Err() == nil {
			e.Log.Error("evict blobs without index", "error", err)
		}
		if blobs > 0 {
			e.Remover.evicted(blobs, bytes)
			e.Log.Info("evicted blobs without index", "blobs", blobs, "bytes", bytes)
		}
	}
	space.Forget()
	return space.CheckReserve()
}
