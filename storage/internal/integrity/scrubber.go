package integrity

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// scrubEvery is how long after one pass in the background ended the next
	// begins, and scrubDelay how long after the opening the first goes on.
	scrubEvery = 30 * 24 * time.Hour
	scrubDelay = time.Hour
	// scrubNote is how often the position of a pass is written down.
	scrubNote = time.Minute
)

// Scrubber reads the blobs again and again, in one goroutine.
type Scrubber struct {
	*Judge

	// Retry is how long what could not be decided rests first.
	Retry time.Duration
}

// Keep verifies what is in doubt, or may not be recorded, and then, slowly
// and again and again, everything, until ctx is done.
func (s *Scrubber) Keep(ctx context.Context) {
	due := time.NewTimer(s.untilScrub())
	defer due.Stop()
	var again <-chan time.Time
	wait := s.Retry
	for try := true; ; {
		if try && s.endDoubt(ctx) {
			again, wait = nil, s.Retry
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
func (s *Scrubber) untilScrub() time.Duration {
	return min(max(s.State.Scrubbed.Add(scrubEvery).Sub(s.Now()), scrubDelay), scrubEvery)
}

// endDoubt verifies what is in doubt, what is not recorded, if there may be such
// files, and what was condemned. It reports whether nothing of it is left.
func (s *Scrubber) endDoubt(ctx context.Context) bool {
	if unaccounted := s.State.Unaccounted; unaccounted || !s.State.Trusted.IsZero() {
		p := pass{Judge: s.Judge, pace: PaceOf(0), wanted: func(i volume.ID, info fs.FileInfo) bool {
			if s.Suspects.late(info) {
				return true
			}
			_, known := s.Records.Size(i)
			return unaccounted && !known
		}}
		if !s.passed(ctx, p.run(ctx, "")) {
			return false
		}
		s.Suspects.set(time.Time{}, time.Time{})
		// What could not be recorded, or moved away, is known by now.
		s.State.Note(func(st *volume.State) { st.Suspect, st.Trusted, st.Unaccounted = time.Time{}, time.Time{}, false })
		if p.done.Blobs > 0 {
			s.Log.Info("blobs in doubt are verified", "blobs", p.done.Blobs, "damaged", p.done.Damaged)
		}
	}
	p := pass{Judge: s.Judge, pace: PaceOf(0)}
	for _, i := range s.Suspects.Condemned() {
		if !s.passed(ctx, p.blob(ctx, i)) {
			return false
		}
	}
	return len(s.Suspects.Condemned()) == 0
}

// passed reports whether a pass in the background got to its end.
func (s *Scrubber) passed(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil && !errors.Is(err, life.ErrClosed) {
		s.Log.Error("verify blobs", "error", err)
	}
	return err == nil
}

// scrubOnce goes on with the pass in the background where it stopped.
func (s *Scrubber) scrubOnce(ctx context.Context) {
	noted := s.Now()
	p := pass{Judge: s.Judge, pace: PaceOf(0), at: func(shard string) {
		if now := s.Now(); now.Sub(noted) >= scrubNote {
			noted = now
			s.State.Note(func(st *volume.State) { st.Shard = shard })
		}
	}}
	err := p.run(ctx, s.State.Shard)
	switch {
	case err == nil:
		s.State.Note(func(st *volume.State) { st.Shard, st.Scrubbed = "", s.Now() })
		s.LastScrub.Note(s.State.Scrubbed)
		s.Log.Info("blobs are scrubbed", "blobs", p.done.Blobs, "bytes", p.done.Bytes, "damaged", p.done.Damaged)
	case ctx.Err() == nil && !errors.Is(err, life.ErrClosed):
		s.Log.Error("scrub blobs", "error", err)
	}
}

// LastScrub is when the last pass over all blobs came to its end. It is safe for concurrent
// use.
type LastScrub struct{ at atomic.Pointer[time.Time] }

// At returns that time; zero = none has ended, as far as is known.
func (l *LastScrub) At() (t time.Time) {
	if at := l.at.Load(); at != nil {
		t = *at
	}
	return t
}

// Note says that a pass has ended.
func (l *LastScrub) Note(t time.Time) { l.at.Store(&t) }
