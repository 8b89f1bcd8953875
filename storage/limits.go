package storage

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Limits say how much is kept. The zero value keeps everything for which the
// file system has room.
type Limits struct {
	// MaxSize is the most bytes of blobs; 0 = no limit.
	MaxSize int64
	// MinFree is the least bytes, and MinFreePercent the least share of the file
	// system in percent, that are left free; the greater one counts. The store
	// always leaves twice what its index needs to be safe.
	MinFree        int64
	MinFreePercent float64
	// MaxUnused is how long a blob is kept that nobody uses; 0 = for ever.
	MaxUnused time.Duration
}

// SetLimits changes the limits. What exceeds them is evicted soon.
func (s *Store) SetLimits(l Limits) {
	s.limits.Store(&l)
	s.keepHouseNow()
}

// Usage says how much is stored.
type Usage struct {
	// Blobs and BlobBytes are the finished blobs. Until Counted they are those
	// of this store's life and as many older ones as were counted yet.
	Blobs, BlobBytes int64
	Counted          bool
	// Upstreams are the bytes of the finished blobs by the name of the upstream
	// that brought them in first; empty where that is not known.
	Upstreams map[string]int64
	// Fills is how many parts are running.
	Fills int
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
	// FreeBytes and TotalBytes are those of the file system.
	FreeBytes, TotalBytes int64
	// EvictedBlobs and EvictedBytes count from the opening of the store.
	EvictedBlobs, EvictedBytes int64
}

// Usage returns how much is stored, without touching the disk more than four
// times a second. It is zero after Close.
func (s *Store) Usage() Usage {
	if s.enter() != nil {
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
	u.Blobs, u.BlobBytes, u.Upstreams = s.usage.stored()
	u.FreeBytes, u.TotalBytes = s.space.look()
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

	counted                    atomic.Bool
	evictedBlobs, evictedBytes atomic.Int64
	indexRebuilds, quarantined atomic.Int64
	indexError                 atomic.Pointer[string]
}

// admit returns ErrNoSpace if a blob of the size, -1 = unknown, cannot be kept.
func (s *Store) admit(size int64) error {
	if most := s.limits.Load().MaxSize; most > 0 && size > most {
		return fmt.Errorf("blob of %d bytes exceeds the limit of %d: %w", size, most, ErrNoSpace)
	}
	if err := s.space.roomFor(size); err != nil {
		s.want(size)
		return err
	}
	return nil
}

// want asks for the eviction of enough for a blob of size bytes. One that is
// larger than a quarter of what is stored does not get it: what an upstream
// merely announces must not empty the store.
func (s *Store) want(size int64) {
	if size > s.usage.used()/4 {
		size = 0
	}
	for old := s.wanted.Load(); old < size && !s.wanted.CompareAndSwap(old, size); old = s.wanted.Load() {
	}
	s.keepHouseNow()
}

// excess returns how many bytes are to be evicted: none, or enough to stay clear
// of the limits for a while.
func (s *Store) excess(l Limits) int64 {
	excess := s.lacking(l)
	if used := s.usage.used(); l.MaxSize > 0 && used > l.MaxSize {
		excess = max(excess, used-l.MaxSize+l.MaxSize/50)
	}
	return excess
}

// lacking returns how much less than it should be is free, and some more.
func (s *Store) lacking(l Limits) int64 {
	free, total := s.space.look()
	least := max(l.MinFree, int64(l.MinFreePercent/100*float64(total)), floor(total)) + s.wanted.Load()
	if free >= least {
		return 0
	}
	return least - free + least/50
}
