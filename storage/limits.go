package storage

import (
	"context"
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
	s.limits.pinsChanged()
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
	if s.life.Enter(context.Background()) != nil {
		return Usage{}
	}
	defer s.life.Leave()
	u := Usage{
		Counted:          s.keeper.census.done.Load(),
		Fills:            s.parts.count(),
		IndexRebuilds:    s.index.Rebuilds(),
		QuarantinedBlobs: s.judge.Damaged(),
		EvictedBlobs:     s.keeper.eviction.remover.blobs.Load(),
		EvictedBytes:     s.keeper.eviction.remover.bytes.Load(),
	}
	total, _ := s.limits.ledger.Balance()
	u.Blobs, u.BlobBytes, u.Upstreams = total.Blobs, total.Bytes, total.Upstreams
	u.FillBytes = s.parts.announced().Bytes
	pinned, busy := s.limits.ledger.Spared()
	u.PinnedBytes, u.BusyBytes = pinned.Bytes, busy
	u.Overpinned = s.keeper.eviction.overpinned.Load()
	u.FreeBytes, u.TotalBytes = s.home.space.Look()
	u.FreeInodes, u.TotalInodes, _ = s.home.space.Inodes()
	u.IndexOpen, u.IndexError = s.index.Writable(), s.index.Trouble()
	_, u.IndexBytes = s.index.Size()
	return u
}
