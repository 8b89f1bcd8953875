package storage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/images"
)

// DefaultMaxIndex is Limits.MaxIndex where that is 0: millions of manifests and links.
const DefaultMaxIndex = images.DefaultMaxIndex

// forgetEvery is how often it is looked for what nobody used, beside blobs.
const forgetEvery = time.Hour

// forgetting is when records are forgotten.
type forgetting struct {
	*images.Forgetter

	busy atomic.Bool
	last time.Duration // uptime of the last look; the house keeper's
}

// forgetSoon looks, from time to time and in the background, for manifests, tags,
// links and referrers to forget. Only the house keeper calls it.
func (s *Store) forgetSoon(ctx context.Context, background *sync.WaitGroup) {
	// An index that is not complete yet may have manifests whose links are to come.
	f, up := &s.forgetting, s.uptime()
	recent := f.last > 0 && up-f.last < forgetEvery
	if s.state.Restore || recent && !f.Crowded(s.limits.Load().MaxIndex) || f.busy.Swap(true) {
		return
	}
	f.last = up
	background.Go(func() {
		defer f.busy.Store(false)
		s.survives("forget", func() {
			if err := s.forget(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("forget what nobody used", "error", err)
			}
		})
	})
}

func (s *Store) forget(ctx context.Context) error {
	l := s.limits.Load()
	return s.forgetting.Forget(ctx, images.ForgetOptions{MaxUnused: l.MaxUnused, MaxIndex: l.MaxIndex, Offline: l.Offline})
}
