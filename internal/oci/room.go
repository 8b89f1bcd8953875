package oci

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// largeDocument is more than manifests have that people make.
	largeDocument = 1 << 20
	// roomForLarge is what all large documents may have together that are on their way
	// from an upstream to the store: two of the largest.
	roomForLarge = 2 * MaxManifestSize
	// roomPatience is how long one waits for the others. Who sends slowly keeps nobody else
	// waiting for longer.
	roomPatience = 2 * time.Second
)

// large is the room of the process, whose memory all share.
var large = semaphore.NewWeighted(roomForLarge)

// Room is what a document takes of the memory for those that are large. The zero value
// has none, and nil takes none. One that nobody leaves is given back once it is collected.
type Room struct {
	bytes   atomic.Int64
	cleanup runtime.Cleanup
}

// Take waits until there is room for so many bytes, unless that takes long.
func (r *Room) Take(ctx context.Context, bytes int64) {
	if r == nil || bytes <= largeDocument || r.bytes.Load() > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, roomPatience)
	defer cancel()
	if bytes = min(bytes, MaxManifestSize); large.Acquire(ctx, bytes) == nil {
		r.bytes.Store(bytes)
		r.cleanup = runtime.AddCleanup(r, large.Release, bytes)
	}
}

// Leave gives the room back.
func (r *Room) Leave() {
	if r == nil {
		return
	}
	if bytes := r.bytes.Swap(0); bytes > 0 {
		r.cleanup.Stop()
		large.Release(bytes)
	}
}
