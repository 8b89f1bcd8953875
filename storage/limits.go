package storage

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/storage/internal/eviction"
)

// Limits say how much is kept. The zero value keeps everything for which the
// file system has room.
type Limits = eviction.Limits

// LimitError is an ErrNoSpace for which the limits alone are the reason.
type LimitError = eviction.LimitError

// LevelOf returns how loudly to say that a blob was not stored. Of limits that are too
// small, once is enough: there may be an error for each blob.
func LevelOf(err error) slog.Level {
	if limit, ok := errors.AsType[*LimitError](err); ok && limit.Again {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// SetLimits changes the limits. What exceeds them is evicted soon.
func (s *Store) SetLimits(l Limits) {
	s.limits.Store(&l)
	s.limits.PinsChanged()
}

// Usage says how much is stored.
type Usage struct {
	// Blobs and BlobBytes are the finished blobs. Until Counted they are those
	// of this store's life and as many older ones as were counted yet. What a crash
	// left without a record counts once a pass in the background has verified it.
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blob_bytes"`
	Counted   bool  `json:"counted"`
	// Upstreams are the bytes of the finished blobs by the name of the upstream
	// that brought them in first; empty where that is not known.
	Upstreams map[string]int64 `json:"upstreams,omitempty"`
	// PinnedBytes are those of the blobs that are pinned, BusyBytes of those that
	// were spared because they were open, both when blobs last had to be evicted.
	PinnedBytes int64 `json:"pinned_bytes"`
	BusyBytes   int64 `json:"-"`
	// Overpinned says that what is pinned exceeds a limit by itself: nothing more
	// is stored there.
	Overpinned bool `json:"overpinned"`
	// Fills is how many parts are running, and FillBytes how many bytes they are
	// going to have, as far as that is known.
	Fills     int   `json:"-"`
	FillBytes int64 `json:"-"`
	IndexUsage
	// QuarantinedBlobs counts, from the opening of the store, the blobs that were
	// found to be damaged and taken out of use.
	QuarantinedBlobs int64 `json:"quarantined_blobs"`
	VolumeUsage
	// EvictedBlobs and EvictedBytes count from the opening of the store.
	EvictedBlobs int64 `json:"evicted_blobs"`
	EvictedBytes int64 `json:"evicted_bytes"`
	Upkeep
}

// Upkeep is when was done what is done in the background again and again; zero = it was
// not yet, as far as is known.
type Upkeep struct {
	// Scrubbed is when the last pass that reads all blobs came to its end, Snapshot when
	// the newest snapshot of the index was made.
	Scrubbed time.Time `json:"scrubbed,omitzero"`
	Snapshot time.Time `json:"snapshot,omitzero"`
}

// IndexUsage is how the index fares.
type IndexUsage struct {
	// IndexBytes is what the index takes on the disk, up to a minute old.
	IndexBytes int64 `json:"index_bytes"`
	// IndexOpen is false while the index cannot be opened, as ErrNoIndex says, and
	// once it is ErrGone.
	// IndexRebuilds counts, from the opening of the store, how often it was
	// damaged and begun anew; IndexError says why it last was that, or not open.
	IndexOpen     bool   `json:"index_open"`
	IndexRebuilds int64  `json:"index_rebuilds"`
	IndexError    string `json:"index_error,omitempty"`
}

// VolumeUsage is what the file system has.
type VolumeUsage struct {
	// FreeBytes and TotalBytes are those of the file system, FreeInodes and
	// TotalInodes too; the latter are 0 where it makes them as it goes.
	FreeBytes   int64 `json:"free_bytes"`
	TotalBytes  int64 `json:"total_bytes"`
	FreeInodes  int64 `json:"free_inodes"`
	TotalInodes int64 `json:"-"`
	// BallastBytes are those of the file that is given up when the disk is full.
	BallastBytes int64 `json:"ballast_bytes"`
	// Unstored is a blob for which there was no room lately; nil = there was for all.
	Unstored *Unstored `json:"unstored,omitempty"`
}

// Limits returns those in force.
func (s *Store) Limits() Limits { return *s.limits.Load() }

// Usage returns how much is stored, without touching the disk more than four
// times a second. It is zero after Close.
func (s *Store) Usage() Usage {
	if s.life.Enter(context.Background()) != nil {
		return Usage{}
	}
	defer s.life.Leave()
	u := Usage{
		Counted:          s.keeper.census.Done.Load(),
		Fills:            s.parts.count(),
		QuarantinedBlobs: s.judge.Damaged(),
		EvictedBlobs:     s.keeper.eviction.Remover.Blobs.Load(),
		EvictedBytes:     s.keeper.eviction.Remover.Bytes.Load(),
		Upkeep:           Upkeep{s.judge.LastScrub.At(), s.keeper.snapshots.Newest()},
	}
	total, _ := s.home.ledger.Balance()
	u.Blobs, u.BlobBytes, u.Upstreams = total.Blobs, total.Bytes, total.Upstreams
	u.FillBytes = s.parts.announced().Bytes
	pinned, busy := s.home.ledger.Spared()
	u.PinnedBytes, u.BusyBytes = pinned.Bytes, busy
	u.Overpinned = s.keeper.eviction.Overpinned.Load()
	u.FreeBytes, u.TotalBytes = s.home.space.Look()
	u.FreeInodes, u.TotalInodes, _ = s.home.space.Inodes()
	u.BallastBytes, u.Unstored = s.home.ballast.Size(), s.parts.unstored.now(s.now())
	u.IndexOpen, u.IndexRebuilds, u.IndexError = s.index.Writable(), s.index.Rebuilds(), s.index.Trouble()
	u.IndexBytes = s.index.OnDisk()
	return u
}
