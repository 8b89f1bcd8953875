package mirror

import (
	"context"
	"errors"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

const (
	// crowdPause is how long to wait after a refusal that is due to others of ours,
	// doubled each time up to maxCrowdPause.
	crowdPause    = 100 * time.Millisecond
	maxCrowdPause = 2 * time.Second
	// lookAgain is how often who waits for a turn looks around.
	lookAgain = time.Second
	// crowdPatience is how long a client waits after such refusals, where it has a
	// header meanwhile: the manifest has told the size.
	crowdPatience = 2 * time.Minute
	// maxIdleTries are the refusals in a row after which what no client waits for is
	// given up.
	maxIdleTries = 10
)

// patience is how much longer a client may be kept waiting by refusals. It counts
// what is asked for, so that a clock that stands still makes it no longer.
type patience struct{ left time.Duration }

func (p *patience) spend(d time.Duration) bool {
	if d <= 0 || d > p.left {
		return false
	}
	p.left -= d
	return true
}

// errand is one attempt to get bytes of a fill, over as many refusals as a client
// has time for.
type errand struct {
	f     *fill
	s     *segment
	pause patience // that the upstream asks for
	line  patience // for others of ours
	tries int
	// needed says that a client has waited for it when it was sent.
	needed bool
	err    error // the last refusal
	held   bool  // its place is, during the pause
}

func newErrand(f *fill, s *segment) *errand {
	e := &errand{f: f, s: s, pause: patience{fillPatience}, line: patience{fillPatience}}
	if f.expected >= 0 {
		e.line.left = crowdPatience
	}
	return e
}

// get sends GETs until one is served, or refused for good. What is for speed alone is
// sent once.
func (e *errand) get(offset, length int64) (oci.BlobBody, error) {
	f := e.f
	defer f.rest(false)
	defer func() {
		if e.held {
			f.c.crowds.Unhold(f.source.Identity, f.c.now())
		}
	}()
	for {
		c := call{offset: offset, length: length, extra: e.s.extra, held: e.held, late: e.late}
		e.held, e.needed = false, f.awaitedAtAll()
		body, err := f.caller.get(e.s.ctx, c)
		switch {
		case err == nil:
			return body, nil
		case e.s.extra || e.s.ctx.Err() != nil:
			return oci.BlobBody{}, err
		case errors.Is(err, pace.ErrYielded):
			continue // its turn comes again
		}
		if e.err = err; !e.again() {
			return oci.BlobBody{}, err
		}
	}
}

// late ends the wait of a client's errand for its turn with the refusal that it has
// got, once that has taken too long: it may be meant for this blob alone. A 429 is
// meant for all.
func (e *errand) late() error {
	if e.err == nil || oci.ClassOf(e.err) == oci.ClassRateLimited || !e.f.awaitedAtAll() || e.line.spend(lookAgain) {
		return nil
	}
	return e.err
}

// again waits after a refusal, and reports whether to send another GET.
func (e *errand) again() bool {
	f, crowded := e.f, errors.Is(e.err, errCrowded)
	refused, _ := refusal(e.err)
	if !refused {
		return false
	}
	if !e.needed && f.awaitedAtAll() {
		e.tries = 0
		return true // it was not the client's that was refused
	}
	e.tries++
	if f.abandon(e.err, !crowded || e.tries > maxIdleTries) {
		return false
	}
	pause, left := oci.AsError(e.err).RetryAfter, &e.pause
	switch {
	case crowded:
		pause, left = min(crowdPause<<min(e.tries-1, 10), maxCrowdPause), &e.line
	case oci.ClassOf(e.err) != oci.ClassRateLimited:
		return false
	}
	if !left.spend(pause) {
		return false
	}
	// An answer that may yet be a refusal of the upstream's is not begun.
	f.rest(!crowded)
	if crowded && e.needed {
		f.c.crowds.Hold(f.source.Identity)
		e.held = true
	}
	return f.pause(e.s.ctx, pause)
}

// pause waits, but not for longer than until a client comes to wait for a fill that
// none has waited for. It reports false if ctx ends first.
func (f *fill) pause(ctx context.Context, d time.Duration) bool {
	timer := f.c.after(d)
	f.mu.Lock()
	defer f.mu.Unlock()
	for idle := f.refs == 1; ctx.Err() == nil; {
		if f.wait(ctx, timer) || idle && f.refs > 1 {
			return true
		}
	}
	return false
}

// sleep reports false if ctx ends first.
func (c *Cache) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-c.after(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// abandon ends a fill that was pulled ahead with a refusal, unless it is not for good
// or a client has come to wait for it: then it is tried again as the client's.
func (f *fill) abandon(err error, final bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ahead || !final {
		return false
	}
	f.failLocked(err)
	return true
}

// awaitedAtAll reports whether a client waits for anything of the blob.
func (f *fill) awaitedAtAll() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refs > 1
}

// rest notes that the fill pauses after a refusal.
func (f *fill) rest(resting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resting != resting {
		f.resting = resting
		f.changed()
	}
}
