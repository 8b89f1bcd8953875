package storage

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// limits are the Limits of a store, with what is held against them: they admit parts,
// grant room to verified blobs, and say how much has to go. Safe for concurrent use.
type limits struct {
	atomic.Pointer[Limits]

	space   *volume.Space
	ledger  *volume.Ledger
	running func() volume.Tally // of the parts that have their first byte
	refused atomic.Int64        // the largest blob that was refused since the last pass
	kick    chan struct{}       // asks for a pass
}

// soon asks for a pass of the eviction, and does not wait.
func (l *limits) soon() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// pinsChanged forgets what was found to be pinned, until the next pass finds it anew.
func (l *limits) pinsChanged() {
	l.ledger.SetPinned(volume.Tally{}, 0)
	l.soon()
}

// claim asks for room for a verified blob of an upstream.
func (l *limits) claim(c *volume.Claim, origin string, size int64) (granted bool) {
	kept := l.Load()
	return l.ledger.Claim(c, origin, size, kept.MaxSize, kept.Upstreams[oci.UpstreamName(origin)])
}

// admit returns ErrNoSpace if a blob of the size, -1 = unknown, cannot be kept:
// not even if everything went that may go for it. Nothing is asked to go.
func (l *limits) admit(origin string, size int64) error {
	kept, name := l.Load(), oci.UpstreamName(origin)
	pinned, _ := l.ledger.Spared()
	if most := kept.MaxSize; most > 0 && max(size, 0)+pinned.Bytes > most {
		return fmt.Errorf("blob of %d bytes beside %d that are pinned exceeds the limit of %d: %w", size, pinned.Bytes, most, ErrNoSpace)
	}
	if most, own := kept.Upstreams[name], pinned.Upstreams[name]; most > 0 && max(size, 0)+own > most {
		return fmt.Errorf("blob of %d bytes beside %d that are pinned exceeds the limit of %d for %s: %w", size, own, most, name, ErrNoSpace)
	}
	err := l.space.CheckFloor(size)
	switch {
	case errors.Is(err, volume.ErrNoInodes):
		l.soon() // the index needs them, too
		return err
	case err != nil && !l.yields(size):
		return err
	}
	return nil
}

// yields reports whether what is stored may go for a blob that an upstream announces.
func (l *limits) yields(size int64) bool {
	used := l.ledger.Used()
	return used > 0 && size <= used/announcedShare
}

// fullFor asks for room for a blob of size bytes if err says that the disk is
// full, and returns err.
func (l *limits) fullFor(size int64, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		l.space.Forget()
		l.want(size)
	}
	return err
}

// want asks for the eviction of enough for a blob of size bytes. One that is
// larger than a quarter of what is stored does not get it: what an upstream
// merely announces must not empty the store.
func (l *limits) want(size int64) {
	if !l.yields(size) {
		size = 0
	}
	for old := l.refused.Load(); old < size && !l.refused.CompareAndSwap(old, size); old = l.refused.Load() {
	}
	l.soon()
}

// announcedShare is the part of what is stored that may go for what running fills
// are going to be. What they have become, and was verified, gets all it needs.
const announcedShare = 4

// demand is how many bytes are to be evicted: of all, and of some upstreams by
// their names.
type demand struct {
	all       int64
	upstreams map[string]int64
}

func (d demand) none() bool { return d.all <= 0 && len(d.upstreams) == 0 }

// demand returns what is to be evicted: nothing, or enough to stay clear of the
// limits for a while.
func (l *limits) demand() demand {
	kept := l.Load()
	used, verified := l.ledger.Balance()
	running := l.running()
	d := demand{all: max(l.lacking(), over(kept.MaxSize, used.Bytes, verified.Bytes, running.Bytes))}
	for name, most := range kept.Upstreams {
		if n := over(most, used.Upstreams[name], verified.Upstreams[name], running.Upstreams[name]); n > 0 {
			if d.upstreams == nil {
				d.upstreams = make(map[string]int64)
			}
			d.upstreams[name] = n
		}
	}
	return d
}

// over returns by how much a limit, if there is one, is or will be exceeded, and
// some more. Running includes what is verified.
func over(most, used, verified, running int64) int64 {
	excess := used + verified + min(max(running-verified, 0), used/announcedShare) - most
	if most <= 0 || excess <= 0 {
		return 0
	}
	return excess + most/50
}

// lacking returns how much less than it should be is free, and some more. It
// looks ahead of the floor: below that, blobs would be passed by while others are
// evicted for them.
func (l *limits) lacking() int64 {
	kept := l.Load()
	free, total := l.space.Unreserved()
	least := max(kept.MinFree, int64(kept.MinFreePercent/100*float64(total)), volume.Floor(total)+volume.Floor(total)/8) + l.refused.Load()
	if free >= least {
		if _, _, low := l.space.Inodes(); low {
			// How many that frees, the next look tells.
			return 1 + l.ledger.Used()/50
		}
		return 0
	}
	return least - free + least/50
}
