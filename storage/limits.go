package storage

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
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

// SetLimits changes the limits. What exceeds them is evicted soon.
func (s *Store) SetLimits(l Limits) {
	s.limits.Store(&l)
	s.usage.setPinned(tally{}, 0)
	s.keepHouseNow()
}

// Usage says how much is stored.
type Usage struct {
	// Blobs and BlobBytes are the finished blobs. Until Counted they are those
	// of this store's life and as many older ones as were counted yet. What a crash
	// left without a record counts once a pass in the background has verified it.
	Blobs, BlobBytes int64
	Counted          bool
	// Upstreams are the bytes of the finished blobs by the name of the upstream
	// that brought them in first; empty where that is not known.
	Upstreams map[string]int64
	// PinnedBytes are those of the blobs that are pinned, BusyBytes of those that
	// were spared because they were open, both when blobs last had to be evicted.
	PinnedBytes, BusyBytes int64
	// Overpinned says that what is pinned exceeds a limit by itself: nothing more
	// is stored there.
	Overpinned bool
	// Fills is how many parts are running, and FillBytes how many bytes they are
	// going to have, as far as that is known.
	Fills     int
	FillBytes int64
	// IndexBytes is the size of the index, up to a minute old.
	IndexBytes int64
	// IndexOpen is false while the index cannot be opened, as ErrNoIndex says, and
	// once it is ErrGone.
	// IndexRebuilds counts, from the opening of the store, how often it was
	// damaged and begun anew; IndexError says why it last was that, or not open.
	IndexOpen     bool
	IndexRebuilds int64
	IndexError    string
	// QuarantinedBlobs counts, from the opening of the store, the blobs that were
	// found to be damaged and taken out of use.
	QuarantinedBlobs int64
	// FreeBytes and TotalBytes are those of the file system, FreeInodes and
	// TotalInodes too; the latter are 0 where it makes them as it goes.
	FreeBytes, TotalBytes   int64
	FreeInodes, TotalInodes int64
	// EvictedBlobs and EvictedBytes count from the opening of the store.
	EvictedBlobs, EvictedBytes int64
}

// Usage returns how much is stored, without touching the disk more than four
// times a second. It is zero after Close.
func (s *Store) Usage() Usage {
	if s.enter(context.Background()) != nil {
		return Usage{}
	}
	defer s.leave()
	u := Usage{
		Counted:          s.usage.counted.Load(),
		Fills:            s.parts.count(),
		IndexRebuilds:    s.usage.indexRebuilds.Load(),
		QuarantinedBlobs: s.usage.quarantined.Load(),
		EvictedBlobs:     s.usage.evictedBlobs.Load(),
		EvictedBytes:     s.usage.evictedBytes.Load(),
	}
	total, _ := s.usage.balance()
	u.Blobs, u.BlobBytes, u.Upstreams = total.blobs, total.bytes, total.upstreams
	u.FillBytes = s.parts.announced().bytes
	u.PinnedBytes, u.BusyBytes = s.usage.spared()
	u.Overpinned = s.usage.overpinned.Load()
	u.FreeBytes, u.TotalBytes = s.space.look()
	u.FreeInodes, u.TotalInodes, _ = s.space.lookNodes()
	if db := s.db.Load(); db != nil {
		tables, logs := db.Size()
		u.IndexOpen, u.IndexBytes = !s.lost.Load(), tables+logs
	}
	if text := s.usage.indexError.Load(); text != nil {
		u.IndexError = *text
	}
	return u
}

// counters are the parts of Usage that are counted.
type counters struct {
	ledger

	counted, overpinned        atomic.Bool
	evictedBlobs, evictedBytes atomic.Int64
	// progress counts each blob as it goes, withdrawn the parts for which nothing has
	// to go any more.
	progress, withdrawn        atomic.Int64
	indexRebuilds, quarantined atomic.Int64
	indexError                 atomic.Pointer[string]
}

// admit returns ErrNoSpace if a blob of the size, -1 = unknown, cannot be kept:
// not even if everything went that may go for it. Nothing is asked to go.
func (s *Store) admit(origin string, size int64) error {
	limits, name := s.limits.Load(), oci.UpstreamName(origin)
	pinned, own := s.usage.pinnedBytes(name)
	if most := limits.MaxSize; most > 0 && max(size, 0)+pinned > most {
		return fmt.Errorf("blob of %d bytes beside %d that are pinned exceeds the limit of %d: %w", size, pinned, most, ErrNoSpace)
	}
	if most := limits.Upstreams[name]; most > 0 && max(size, 0)+own > most {
		return fmt.Errorf("blob of %d bytes beside %d that are pinned exceeds the limit of %d for %s: %w", size, own, most, name, ErrNoSpace)
	}
	err := s.space.roomFor(size)
	switch {
	case errors.Is(err, errNoInodes):
		s.keepHouseNow() // the index needs them, too
		return err
	case err != nil && !s.yields(size):
		return err
	}
	return nil
}

// want asks for the eviction of enough for a blob of size bytes. One that is
// larger than a quarter of what is stored does not get it: what an upstream
// merely announces must not empty the store.
func (s *Store) want(size int64) {
	if !s.yields(size) {
		size = 0
	}
	for old := s.wanted.Load(); old < size && !s.wanted.CompareAndSwap(old, size); old = s.wanted.Load() {
	}
	s.keepHouseNow()
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
func (s *Store) demand(l Limits) demand {
	used, verified := s.usage.balance()
	running := s.parts.announced()
	d := demand{all: max(s.lacking(l), over(l.MaxSize, used.bytes, verified.bytes, running.bytes))}
	for name, most := range l.Upstreams {
		if n := over(most, used.upstreams[name], verified.upstreams[name], running.upstreams[name]); n > 0 {
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
func (s *Store) lacking(l Limits) int64 {
	free, total := s.space.unreserved()
	least := max(l.MinFree, int64(l.MinFreePercent/100*float64(total)), floor(total)+floor(total)/8) + s.wanted.Load()
	if free >= least {
		if _, _, scarce := s.space.lookNodes(); scarce {
			// How many that frees, the next look tells.
			return 1 + s.usage.used()/50
		}
		return 0
	}
	return least - free + least/50
}
