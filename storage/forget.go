package storage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// forgetEvery is how often it is looked for what nobody used, beside blobs.
const forgetEvery = time.Hour

// forgetting is when records are forgotten.
type forgetting struct {
	images.Forgetter

	limits *eviction.Budget
	state  *volume.StateFile
	clock  *eviction.Clock
	life   *life.Life

	busy atomic.Bool
	last time.Duration // uptime of the last look; the house keeper's
}

// soon looks, from time to time and in the background, for manifests, tags,
// links and referrers to forget. Only the house keeper calls it.
func (f *forgetting) soon(ctx context.Context, background *sync.WaitGroup) {
	// An index that is not complete yet may have manifests whose links are to come.
	up := f.clock.Uptime()
	recent := f.last > 0 && up-f.last < forgetEvery
	if f.state.Restore || recent && !f.Crowded(f.limits.Load().MaxIndex) || f.busy.Swap(true) {
		return
	}
	f.last = up
	background.Go(func() {
		defer f.busy.Store(false)
		f.life.Survives("forget", func() {
			if err := f.forget(ctx); err != nil && ctx.Err() == nil {
				f.Log.Error("forget what nobody used", "error", err)
			}
		})
	})
}

func (f *forgetting) forget(ctx context.Context) error {
	l := f.limits.Load()
	return f.Forget(ctx, images.ForgetOptions{MaxUnused: l.MaxUnused, MaxIndex: l.MaxIndex, Offline: l.Offline})
}
