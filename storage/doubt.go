package storage

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// keepScrubbed verifies what is in doubt, or may not be recorded, and then, slowly
// and again and again, everything, until ctx is done.
func (s *Store) keepScrubbed(ctx context.Context) {
	due := time.NewTimer(s.untilScrub())
	defer due.Stop()
	var again <-chan time.Time
	wait := s.retry
	for try := true; ; {
		if try && s.endDoubt(ctx) {
			again, wait = nil, s.retry
		} else if try {
			again, wait = time.After(wait), min(2*wait, scrubDelay)
		}
		try = false
		select {
		case <-again:
			try = true
		case <-s.recheck:
			if again == nil {
				again = time.After(wait)
			}
		case <-due.C:
			s.scrubOnce(ctx)
			due.Reset(s.untilScrub())
		case <-ctx.Done():
			return
		}
	}
}

// untilScrub returns how long it is until the next pass, whatever became of the clock.
func (s *Store) untilScrub() time.Duration {
	return min(max(s.state.Scrubbed.Add(scrubEvery).Sub(s.now()), scrubDelay), scrubEvery)
}

// endDoubt verifies what is in doubt, what is not recorded, if there may be such
// files, and what was condemned. It reports whether nothing of it is left.
func (s *Store) endDoubt(ctx context.Context) bool {
	if unaccounted := s.state.Unaccounted; unaccounted || !s.state.Trusted.IsZero() {
		p := pass{store: s, pace: newPace(0), wanted: func(i volume.ID, info fs.FileInfo) bool {
			s.suspects.mu.Lock()
			doubt := s.suspects.within(info)
			s.suspects.mu.Unlock()
			return doubt || unaccounted && !s.recorded(i)
		}}
		if !s.passed(ctx, p.run(ctx, "")) {
			return false
		}
		s.suspects.clear()
		// What could not be recorded, or moved away, is known by now.
		s.noteState(func(st *volume.State) { st.Suspect, st.Trusted, st.Unaccounted = time.Time{}, time.Time{}, false })
		if p.done.Blobs > 0 {
			s.log.Info("blobs in doubt are verified", "blobs", p.done.Blobs, "damaged", p.done.Damaged)
		}
	}
	p := pass{store: s, pace: newPace(0)}
	for _, i := range s.suspects.listCondemned() {
		if !s.passed(ctx, p.blob(ctx, i.Algorithm().String(), i.Digest().Encoded())) {
			return false
		}
	}
	return len(s.suspects.listCondemned()) == 0
}

// passed reports whether a pass in the background got to its end.
func (s *Store) passed(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		s.log.Error("verify blobs", "error", err)
	}
	return err == nil
}

// recheckSoon asks for another look at what was condemned, and does not wait.
func (s *Store) recheckSoon() {
	select {
	case s.recheck <- struct{}{}:
	default:
	}
}

// recorded reports whether the index knows a blob. Only who keeps house and the
// scrub call it, which end before the index does.
func (s *Store) recorded(i volume.ID) bool {
	_, known := s.index.Blob(i)
	return known
}

// scrubOnce goes on with the pass in the background where it stopped.
func (s *Store) scrubOnce(ctx context.Context) {
	noted := s.now()
	p := pass{store: s, pace: newPace(0), at: func(shard string) {
		if now := s.now(); now.Sub(noted) >= scrubNote {
			noted = now
			s.noteState(func(st *volume.State) { st.Shard = shard })
		}
	}}
	err := p.run(ctx, s.state.Shard)
	switch {
	case err == nil:
		s.noteState(func(st *volume.State) { st.Shard, st.Scrubbed = "", s.now() })
		s.log.Info("blobs are scrubbed", "blobs", p.done.Blobs, "bytes", p.done.Bytes, "damaged", p.done.Damaged)
	case ctx.Err() == nil && !errors.Is(err, ErrClosed):
		s.log.Error("scrub blobs", "error", err)
	}
}
