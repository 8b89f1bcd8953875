// Package eviction keeps a store to its limits: what may be stored, what has to go for it,
// and who waits for that. The least recently used blobs go first; what is pinned or open
// stays.
package eviction

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Limits say how much is kept. The zero value keeps everything for which the
// file system has room.
type Limits struct {
	// MaxSize is the most bytes of finished blobs; 0 = no limit. It is exceeded by
	// no more than the running fills, once the blobs of earlier runs are counted.
	MaxSize int64
	// Upstreams are limits of that kind for what single upstreams brought in, by
	// the name of the upstream. A blob that came from several counts to the first.
	Upstreams map[string]int64
	// MinFree is the least bytes, and MinFreePercent the least share of the file
	// system in percent, that are left free; the greater one counts. The store
	// always leaves twice what its index needs to be safe.
	MinFree        int64
	MinFreePercent float64
	// MaxUnused is how long is kept what nobody uses; 0 = for ever, except tags, links
	// and manifests that led to blobs which are gone: these are forgotten after 180
	// days. While the clock is in doubt, and for more than a quarter of the bytes at
	// once, that alone is no reason to remove anything.
	MaxUnused time.Duration
	// MaxIndex is about how many bytes manifests, tags, links and referrers may have in
	// the index; those without use for the longest are forgotten then, in the background,
	// and in steps. 0 = DefaultMaxIndex, negative = any number.
	MaxIndex int64
	// Offline are the names of upstreams that are not asked: nothing of theirs is
	// forgotten unless MaxUnused says so.
	Offline []string
	// Pins are the images that are never evicted, for whatever reason, beside those
	// of Store.Pin.
	Pins []oci.Pin
}

// Budget is what the Limits of a store leave: it admits parts, grants room to verified
// blobs, and says how much has to go. Safe for concurrent use.
type Budget struct {
	atomic.Pointer[Limits]

	space   *volume.Space
	ledger  *volume.Ledger
	running func() volume.Tally    // of the parts that have their first byte
	Refused atomic.Int64           // the largest blob that was refused since the last pass
	Kick    chan struct{}          // asks for a pass
	told    atomic.Pointer[Limits] // those with which a LimitError was returned
	// withdrawn counts the parts for which nothing has to go any more.
	withdrawn atomic.Int64
}

// NewBudget returns the budget of a store; running returns what the parts are going to be
// that have their first byte.
func NewBudget(space *volume.Space, ledger *volume.Ledger, running func() volume.Tally) *Budget {
	return &Budget{space: space, ledger: ledger, running: running, Kick: make(chan struct{}, 1)}
}

// Drop ends a claim. One that was not fulfilled is for nobody any more.
func (l *Budget) Drop(c *volume.Claim) {
	if l.ledger.Drop(c) {
		l.withdrawn.Add(1)
	}
}

// Soon asks for a pass of the eviction, and does not wait.
func (l *Budget) Soon() {
	select {
	case l.Kick <- struct{}{}:
	default:
	}
}

// PinsChanged forgets what was found to be pinned, until the next pass finds it anew.
func (l *Budget) PinsChanged() {
	l.ledger.SetPinned(volume.Tally{}, 0)
	l.Soon()
}

// Claim asks for room for a verified blob of an upstream.
func (l *Budget) Claim(c *volume.Claim, origin string, size int64) (granted bool) {
	kept := l.Load()
	return l.ledger.Claim(c, origin, size, kept.MaxSize, kept.Upstreams[oci.UpstreamName(origin)])
}

// Admit returns a LimitError or ErrNoSpace if a blob of the size, -1 = unknown, cannot be kept:
// not even if everything went that may go for it. Nothing is asked to go.
func (l *Budget) Admit(origin string, size int64) error {
	kept, name := l.Load(), oci.UpstreamName(origin)
	pinned, _ := l.ledger.Spared()
	if most := kept.MaxSize; most > 0 && max(size, 0)+pinned.Bytes > most {
		return &LimitError{Size: size, Pinned: pinned.Bytes, Limit: most, Again: l.told.Swap(kept) == kept}
	}
	if most, own := kept.Upstreams[name], pinned.Upstreams[name]; most > 0 && max(size, 0)+own > most {
		return &LimitError{Size: size, Pinned: own, Limit: most, Upstream: name, Again: l.told.Swap(kept) == kept}
	}
	err := l.space.CheckFloor(size)
	switch {
	case errors.Is(err, volume.ErrNoInodes):
		l.Soon() // the index needs them, too
		return err
	case err != nil && !l.Yields(size):
		return err
	}
	return nil
}

// Yields reports whether what is stored may go for a blob that an upstream announces.
func (l *Budget) Yields(size int64) bool {
	used := l.ledger.Used()
	return used > 0 && size <= used/announcedShare
}

// FullFor asks for room for a blob of size bytes if err says that the disk is
// full, and returns err.
func (l *Budget) FullFor(size int64, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		l.space.Forget()
		l.Want(size)
	}
	return err
}

// Want asks for the eviction of enough for a blob of size bytes. One that is
// larger than a quarter of what is stored does not get it: what an upstream
// merely announces must not empty the store.
func (l *Budget) Want(size int64) {
	if !l.Yields(size) {
		size = 0
	}
	for old := l.Refused.Load(); old < size && !l.Refused.CompareAndSwap(old, size); old = l.Refused.Load() {
	}
	l.Soon()
}

// announcedShare is the part of what is stored that may go for what running fills
// are going to be. What they have become, and was verified, gets all it needs.
const announcedShare = 4

// Demand is how many bytes are to be evicted: of all, and of some upstreams by
// their names.
type Demand struct {
	all       int64
	upstreams map[string]int64
}

// None reports whether nothing is to be evicted.
func (d Demand) None() bool { return d.all <= 0 && len(d.upstreams) == 0 }

// Demand returns what is to be evicted: nothing, or enough to stay clear of the
// limits for a while.
func (l *Budget) Demand() Demand {
	kept := l.Load()
	used, verified := l.ledger.Balance()
	running := l.running()
	d := Demand{all: max(l.Lacking(), over(kept.MaxSize, used.Bytes, verified.Bytes, running.Bytes))}
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

// Lacking returns how much less than it should be is free, and some more. It
// looks ahead of the floor: below that, blobs would be passed by while others are
// evicted for them.
func (l *Budget) Lacking() int64 {
	kept := l.Load()
	free, total := l.space.Unreserved()
	least := max(kept.MinFree, int64(kept.MinFreePercent/100*float64(total)), volume.Floor(total)+volume.Floor(total)/8) + l.Refused.Load()
	if free >= least {
		if _, _, low := l.space.Inodes(); low {
			// How many that frees, the next look tells.
			return 1 + l.ledger.Used()/50
		}
		return 0
	}
	return least - free + least/50
}
