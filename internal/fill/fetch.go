package fill

import (
	"errors"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

const (
	// Patience is how long a client is kept waiting for a header, such as for its turn.
	// containerd waits 30 s.
	Patience = 25 * time.Second
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

// fetch is one attempt to get bytes of a fill, over as many refusals as a client
// has time for.
type fetch struct {
	f     *Fill
	s     *segment
	pause patience // that the upstream asks for
	line  patience // for others of ours
	tries int
	// needed says that a client has waited for it when it was sent.
	needed bool
	err    error // the last refusal
	held   bool  // its place is, during the pause
}

func newFetch(f *Fill, s *segment) *fetch {
	e := &fetch{f: f, s: s, pause: patience{Patience}, line: patience{Patience}}
	if f.outcome.now().hint >= 0 {
		e.line.left = crowdPatience
	}
	return e
}

// get sends GETs until one is served, or refused for good. What is for speed alone is
// sent once.
func (e *fetch) get(offset, length int64) (oci.BlobBody, error) {
	f := e.f
	defer e.rest(false)
	defer func() {
		if e.held {
			f.crowds.Unhold(f.Scope.Upstream, f.Now())
		}
	}()
	for {
		r := request{offset: offset, length: length, extra: e.s.extra, held: e.held, late: e.late}
		e.held, e.needed = false, f.audience.clients() > 0
		body, err := f.sender.get(e.s.ctx, r)
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

// late ends the wait of a client's fetch for its turn with the refusal that it has
// got, once that has taken too long: it may be meant for this blob alone. A 429 is
// meant for all.
func (e *fetch) late() error {
	if e.err == nil || oci.ClassOf(e.err) == oci.ClassRateLimited || e.f.audience.clients() == 0 || e.line.spend(lookAgain) {
		return nil
	}
	return e.err
}

// again waits after a refusal, and reports whether to send another GET.
func (e *fetch) again() bool {
	f, crowded := e.f, errors.Is(e.err, errCrowded)
	refused, _ := refusal(e.err)
	if !refused {
		return false
	}
	if !e.needed && f.audience.clients() > 0 {
		e.tries = 0
		return true // it was not the client's that was refused
	}
	e.tries++
	if final := !crowded || e.tries > maxIdleTries; final && f.audience.abandon(&f.outcome, e.err) {
		f.abort()
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
	e.rest(!crowded)
	if crowded && e.needed {
		f.crowds.Hold(f.Scope.Upstream)
		e.held = true
	}
	return e.wait(pause)
}

// wait waits, but not for longer than until a client comes to wait for a fill that
// none has waited for. It reports false if ctx ends first.
func (e *fetch) wait(d time.Duration) bool {
	f, ctx := e.f, e.s.ctx
	timer := f.After(d)
	for idle := f.audience.clients() == 0; ctx.Err() == nil; {
		seen := f.changes.seen()
		if idle && f.audience.clients() > 0 || f.changes.wait(ctx, seen, timer) {
			return true
		}
	}
	return false
}

// rest notes that the fill pauses after a refusal.
func (e *fetch) rest(resting bool) {
	if e.f.outcome.rest(resting) {
		e.f.changes.announce()
	}
}
