package eviction

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// MaxUses is how many uses are remembered before they are written down out of
// turn.
const MaxUses = 10_000

// Uses remembers when blobs were used, until that is written down: a hit waits
// for no write, and mostly only looks, since the hour of the last one stands there
// already. The zero value remembers none. Safe for concurrent use.
type Uses struct {
	shards [usesShards]usesShard
	count  atomic.Int64
}

// usesShards keep hits of different blobs out of each other's way.
const usesShards = 16

type usesShard struct {
	mu    sync.RWMutex
	hours map[volume.ID]index.Use
}

func (u *Uses) shard(i volume.ID) *usesShard { return &u.shards[i[len(i)-1]%usesShards] }

// Touch remembers a use, and returns how many blobs are remembered.
func (u *Uses) Touch(i volume.ID, hour index.Use) int {
	s := u.shard(i)
	s.mu.RLock()
	known, ok := s.hours[i]
	s.mu.RUnlock()
	if ok && known == hour {
		return int(u.count.Load())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hours == nil {
		s.hours = make(map[volume.ID]index.Use)
	}
	before := len(s.hours)
	s.hours[i] = hour
	return int(u.count.Add(int64(len(s.hours) - before)))
}

// Seen reports whether a blob was used since take.
func (u *Uses) Seen(i volume.ID) bool {
	s := u.shard(i)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.hours[i]
	return ok
}

// take returns what is remembered, and forgets it.
func (u *Uses) take() map[volume.ID]index.Use {
	taken := make(map[volume.ID]index.Use)
	for k := range u.shards {
		s := &u.shards[k]
		s.mu.Lock()
		u.count.Add(-int64(len(s.hours)))
		maps.Copy(taken, s.hours)
		s.hours = nil
		s.mu.Unlock()
	}
	return taken
}

// UseLog are the uses of blobs and manifests until they are written down.
type UseLog struct {
	Blobs, Manifests Uses
	Latest           Latest // of manifests

	index    *index.Index
	contents images.Contents
	log      *slog.Logger
}

// NewUseLog returns a log of no uses.
func NewUseLog(x *index.Index, contents images.Contents, log *slog.Logger) *UseLog {
	return &UseLog{index: x, contents: contents, log: log}
}

// Write writes down when blobs and manifests were used. One goroutine calls it, which
// also asks the uses whether a blob may be evicted.
func (l *UseLog) Write() {
	manifests := l.Manifests.take()
	l.useContents(manifests)
	l.put(l.Blobs.take(), (*index.Batch).PutUses)
	l.put(manifests, (*index.Batch).PutManifestUses)
}

// useContents makes the use of an image one of its blobs, once an hour. An index
// is not an image: nobody pulls all of its platforms.
func (l *UseLog) useContents(manifests map[volume.ID]index.Use) {
	if len(manifests) == 0 {
		return
	}
	txn, err := l.index.Begin()
	if err != nil {
		return
	}
	defer txn.Discard()
	for i, hour := range manifests {
		if known, ok := index.Load(txn, index.TableKey(index.TableManifestUse, i), index.DecodeUse); ok && known == hour {
			continue
		}
		contents, err := l.contents.Of(txn, i)
		if err != nil {
			l.index.NoteDamage(err)
			continue
		}
		if len(contents.Manifests) > 0 {
			continue
		}
		for _, d := range contents.Blobs {
			if blob, err := volume.IDOf(d.Digest); err == nil {
				l.Blobs.Touch(blob, hour)
			}
		}
	}
}

// put writes down uses.
func (l *UseLog) put(taken map[volume.ID]index.Use, put func(*index.Batch, map[volume.ID]index.Use) error) {
	for len(taken) > 0 {
		some := make(map[volume.ID]index.Use, min(len(taken), index.MaxUsesWrite))
		for i, hour := range taken {
			if len(some) == index.MaxUsesWrite {
				break
			}
			some[i] = hour
			delete(taken, i)
		}
		if err := l.index.Update(len(some)*index.LinkBytes, func(b *index.Batch) error { return put(b, some) }); err != nil {
			l.log.Warn("uses not recorded", "uses", len(some)+len(taken), "error", err)
			return
		}
	}
}
