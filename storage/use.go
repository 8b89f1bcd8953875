package storage

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// maxUses is how many uses are remembered before they are written down out of
// turn.
const maxUses = 10_000

// uses remembers when blobs were used, until that is written down: a hit waits
// for no write, and mostly only looks, since the hour of the last one stands there
// already. The zero value remembers none. Safe for concurrent use.
type uses struct {
	shards [usesShards]usesShard
	count  atomic.Int64
}

// usesShards keep hits of different blobs out of each other's way.
const usesShards = 16

type usesShard struct {
	mu    sync.RWMutex
	hours map[volume.ID]index.Use
}

func (u *uses) shard(i volume.ID) *usesShard { return &u.shards[i[len(i)-1]%usesShards] }

// touch remembers a use, and returns how many blobs are remembered.
func (u *uses) touch(i volume.ID, hour index.Use) int {
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

// seen reports whether a blob was used since take.
func (u *uses) seen(i volume.ID) bool {
	s := u.shard(i)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.hours[i]
	return ok
}

// take returns what is remembered, and forgets it.
func (u *uses) take() map[volume.ID]index.Use {
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

// useLog are the uses of blobs and manifests until they are written down.
type useLog struct {
	blobs, manifests uses

	index    *index.Index
	contents images.Contents
	log      *slog.Logger
}

// write writes down when blobs and manifests were used. One goroutine calls it, which
// also asks the uses whether a blob may be evicted.
func (l *useLog) write() {
	manifests := l.manifests.take()
	l.useContents(manifests)
	l.put(l.blobs.take(), (*index.Batch).PutUses)
	l.put(manifests, (*index.Batch).PutManifestUses)
}

// useContents makes the use of an image one of its blobs, once an hour. An index
// is not an image: nobody pulls all of its platforms.
func (l *useLog) useContents(manifests map[volume.ID]index.Use) {
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
				l.blobs.touch(blob, hour)
			}
		}
	}
}

// put writes down uses.
func (l *useLog) put(taken map[volume.ID]index.Use, put func(*index.Batch, map[volume.ID]index.Use) error) {
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
