package fill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// retry decides what follows a failed GET: another one from where it got to, the
// retreat of this segment, or, if it is the last, the end of the fill.
func (w *workers) retry(s *segment, err error) bool {
	f := w.f
	w.mu.Lock()
	if again, decided := w.retreat(s, err); decided {
		w.mu.Unlock()
		return again
	}
	pause, ok := w.stumbles.note(s.bytes, f.Now().Sub(s.began))
	asked := oci.AsError(err).RetryAfter
	if !ok || errors.Is(err, errNoRanges) || !resumable(err) || asked > maxPause {
		w.retire(s)
		w.sequential = true
		last := len(w.segments) == 0
		w.mu.Unlock()
		if last {
			f.fail(fmt.Errorf("get blob %s@%s: %w", f.Scope, f.Digest, classed(err)))
		}
		return false
	}
	s.bytes = 0
	attempt, level := w.stumbles.row, slog.LevelDebug
	if !w.warned { // an upstream that goes on like that has been told of
		w.warned, level = true, slog.LevelWarn
	}
	w.mu.Unlock()
	f.Log.Log(s.ctx, level, "blob is cut off, resuming", "offset", s.pos, "attempt", attempt, "error", err)
	if pause += asked; pause > 0 && !f.sleep(s.ctx, pause) {
		return w.retry(s, context.Cause(s.ctx))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.began, s.speed = f.Now(), pace.Meter{}
	return true
}

// retreat decides what needs no pause: whether the segment leaves or goes on at once.
// w.mu is held.
func (w *workers) retreat(s *segment, err error) (again, decided bool) {
	f := w.f
	others := len(w.segments) > 1
	yielded, crowded := errors.Is(err, pace.ErrYielded), errors.Is(err, errCrowded)
	switch {
	case f.outcome.halted() || w.ctx.Err() != nil:
	case s.ctx.Err() != nil && others: // it was replaced
	case s.ctx.Err() != nil:
		// All the others have left meanwhile.
		s.leaving = false
		s.ctx, s.stop = context.WithCancelCause(w.ctx)
		return true, true
	case errors.Is(err, errNoRanges) && !others:
		return true, true // from the start, then
	case s.extra && others && (s.bytes == 0 || yielded || crowded):
		// Others get what it was to get. An upstream that refuses one more
		// connection is not asked for it again.
		f.Uplinks.Enough(f.Scope.Upstream, f.Now())
		f.Log.Debug("further connection is of no use", "error", err)
	case yielded, s.extra && crowded:
		s.extra = false // it is the only one
		return true, true
	default:
		return false, false
	}
	w.retire(s)
	return false, true
}

// classed gives a plain cut of the body a class.
func classed(err error) error {
	if oci.ClassOf(err) != oci.ClassNone {
		return err
	}
	return oci.UpstreamError(oci.ClassConnect, "", "the upstream cut the blob off", err)
}

// resumable reports whether asking again can help.
func resumable(err error) bool {
	switch oci.ClassOf(err) {
	case oci.ClassNone, oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout, oci.ClassToken,
		oci.ClassRateLimited, oci.ClassBreaker, oci.ClassStatus, oci.ClassCanceled, oci.ClassExhausted:
		return true
	}
	return false
}

const (
	// An attempt that brought goodStep or took goodTime is progress: the next one
	// costs no wait.
	goodStep = 1 << 20
	goodTime = time.Second
	// smallStep is what an attempt has to bring, at least, to go on like that for
	// ever, though ever more slowly.
	smallStep = 64 << 10
	// maxAttempts in a row end a download if all but the first bring no byte, and
	// maxSmall if they bring next to none.
	maxAttempts = 5
	maxSmall    = 30
	// stumblePause is the pause after the second attempt in a row that was no
	// progress, doubled each time; up to maxStumble where something came, and the
	// less of that the more it was.
	stumblePause = 400 * time.Millisecond
	maxStumble   = time.Second
	// maxPause is how long an upstream may ask to be left alone, or be left alone
	// by its breaker, until a fill ends.
	maxPause = 30 * time.Second
)

// stumbles are the attempts of a download in a row that did not get far. The zero
// value is none.
type stumbles struct{ empty, small, row int }

// note counts an attempt that has ended before its end, and says how long to wait
// before the next one; ok is false if there is to be none.
func (s *stumbles) note(bytes int64, took time.Duration) (pause time.Duration, ok bool) {
	switch {
	case bytes >= goodStep || bytes > 0 && took >= goodTime:
		*s = stumbles{row: 1, empty: 1}
		return 0, true
	case bytes >= smallStep:
		s.empty, s.small = 1, 0
	case bytes > 0:
		s.empty = 1
		s.small++
	default:
		s.empty++
		s.small++
	}
	s.row++
	if s.empty > maxAttempts || s.small > maxSmall {
		return 0, false
	}
	if s.row == 1 {
		return 0, true
	}
	pause = stumblePause << min(s.row-2, maxAttempts)
	if bytes > 0 {
		pause = time.Duration(float64(min(pause, maxStumble)) * (1 - float64(bytes)/goodStep))
	}
	return pause/2 + rand.N(pause/2+1), true
}
