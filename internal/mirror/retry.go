package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// retry decides what follows a failed GET: another one from where it got to, the
// retreat of this segment, or, if it is the last, the end of the fill.
func (f *fill) retry(s *segment, err error) bool {
	f.mu.Lock()
	if again, decided := f.retreat(s, err); decided {
		f.mu.Unlock()
		return again
	}
	now := f.c.now()
	pause, ok := f.stumbles.note(s.bytes, now.Sub(s.began))
	asked := oci.AsError(err).RetryAfter
	if !ok || errors.Is(err, errNoRanges) || !resumable(err) || asked > maxPause {
		f.retire(s)
		f.sequential = true
		if len(f.segments) == 0 {
			f.failLocked(fmt.Errorf("get blob %s@%s: %w", f.source.scope, f.digest, classed(err)))
		}
		f.mu.Unlock()
		return false
	}
	s.bytes = 0
	attempt, level := f.stumbles.row, slog.LevelDebug
	if !f.warned { // an upstream that goes on like that has been told of
		f.warned, level = true, slog.LevelWarn
	}
	f.mu.Unlock()
	f.c.log.Log(s.ctx, level, "blob is cut off, resuming", "upstream", f.source.Name, "repository", f.source.repository,
		"digest", f.digest, "offset", s.pos, "attempt", attempt, "error", err)
	if pause += asked; pause > 0 && !f.c.sleep(s.ctx, pause) {
		return f.retry(s, context.Cause(s.ctx))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.began, s.speed = f.c.now(), pace.Meter{}
	return true
}

// retreat decides what needs no pause: whether the segment leaves or goes on at once.
// f.mu is held.
func (f *fill) retreat(s *segment, err error) (again, decided bool) {
	others := len(f.segments) > 1
	yielded, crowded := errors.Is(err, pace.ErrYielded), errors.Is(err, errCrowded)
	switch {
	case f.halted() || f.pulling.Err() != nil:
	case s.ctx.Err() != nil && others: // it was replaced
	case s.ctx.Err() != nil:
		// All the others have left meanwhile.
		s.leaving = false
		s.ctx, s.stop = context.WithCancelCause(f.pulling)
		return true, true
	case errors.Is(err, errNoRanges) && !others:
		return true, true // from the start, then
	case s.extra && others && (s.bytes == 0 || yielded || crowded):
		// Others get what it was to get. An upstream that refuses one more
		// connection is not asked for it again.
		f.c.uplinks.Enough(f.source.Identity, f.c.now())
		f.c.log.Debug("further connection is of no use", "upstream", f.source.Name, "digest", f.digest, "error", err)
	case yielded, s.extra && crowded:
		s.extra = false // it is the only one
		return true, true
	default:
		return false, false
	}
	f.retire(s)
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
