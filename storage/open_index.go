package storage

import (
	"context"
	"errors"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// indexRetry is how often an index that could not be opened is tried again,
	// indexLook how often it is looked whether what kept it from that is over.
	indexRetry = 30 * time.Second
	indexLook  = 2 * time.Second
)

// begin begins a run: the directory is locked. It opens the index, or returns an error
// if another process has that.
func (k *keeper) begin(ctx context.Context) error {
	if err := k.home.layout.make(); err != nil {
		k.log.Warn("directory is not complete", "error", err)
	}
	k.beginRun()
	_, _ = k.snapshots.List() // so that the newest one is known, as is the ballast
	_, _ = k.home.ballast.Look()
	if !k.quiet {
		k.eviction.Sweep(k.eviction.Now().Add(-maxIdle))
		if err := k.home.sweepLeftovers(); err != nil {
			k.log.Warn("sweep what a crash left", "error", err)
		}
	}
	if err := k.openIndex(ctx); errors.Is(err, ErrLocked) && !volume.OwnLock {
		return err
	} else if err != nil {
		k.index.SetTrouble(err)
		reading := errors.New("it is not asked for")
		if !k.quiet {
			reading = k.index.OpenReadable()
		}
		if reading == nil {
			k.log.Error("index is open for reading only: what it knows is served, and nothing is recorded", "error", err)
		} else {
			k.log.Error("index is not open: only what an upstream confirms is served", "error", err, "reading", reading)
		}
	}
	k.index.Measure()
	k.index.Start()
	return nil
}

// openIndex opens the index, and makes room for it. An error means that there is none
// at present, through no fault of its own.
func (k *keeper) openIndex(ctx context.Context) error {
	if k.quiet {
		// Nothing is removed to make any.
		if err := k.home.space.CheckReserve(); err != nil {
			return err
		}
	} else if err := k.eviction.MakeIndexRoom(ctx); err != nil {
		return err
	}
	if err := k.home.layout.make(); err != nil {
		return err
	}
	if !k.home.state.Writable() {
		k.beginRun()
	}
	return k.index.Open(k.inspect)
}

// beginRun reads the state and records in it that the store is open.
func (k *keeper) beginRun() {
	if err := k.home.readState(); err != nil {
		k.log.Warn("state of the store is not recorded", "error", err)
	}
	k.judge.LastScrub.Note(k.home.state.Scrubbed)
	k.eviction.Clock.Begin(k.home.state.Wall)
	k.durability.Begin(k.home.root.BootID())
}

// awaitIndex tries to open the index until it is open, and reports false if ctx
// ended first. Where nothing could be written, it is tried as soon as that is over.
func (k *keeper) awaitIndex(ctx context.Context) bool {
	if k.index.IsOpen() {
		return true
	}
	wait, due := k.retry, time.Now().Add(k.retry)
	blocked := true // for all that is known: Open has just failed
	look := time.NewTicker(min(indexLook, k.retry))
	defer look.Stop()
	for {
		select {
		case <-look.C:
			freed := blocked && k.home.writable() == nil
			if !freed && time.Now().Before(due) {
				continue
			}
			err := k.openIndex(ctx)
			if err == nil {
				k.log.Info("index is open")
				return true
			}
			k.index.SetTrouble(err)
			k.log.Warn("index is still not open", "error", err)
			blocked = k.home.writable() != nil
			// Badger leaks some memory where it fails.
			if wait = min(2*wait, 32*k.retry); blocked || errors.Is(err, ErrLocked) {
				wait = k.retry
			}
			due = time.Now().Add(wait)
		case <-k.eviction.Limits.Kick:
			// Nobody can keep to limits before the blobs are counted.
		case <-ctx.Done():
			return false
		}
	}
}

// isRestored reports whether the index has what a snapshot holds, if need be.
func (k *keeper) isRestored() bool {
	select {
	case <-k.restored:
		return true
	default:
		return false
	}
}
