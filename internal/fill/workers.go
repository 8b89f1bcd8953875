package fill

import (
	"context"
	"hash"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/pace"
)

// maxSegments is how many segments a fill may have where speed does not ask for more.
const maxSegments = 4

// workers are the segments of a fill that are at work, and who gets which claim. Safe
// for concurrent use.
type workers struct {
	f       *Fill
	running sync.WaitGroup

	mu       sync.Mutex
	segments segments
	ctx      context.Context
	stop     context.CancelFunc
	each     float64 // bytes per second of one connection, as was last known
	crowded  bool    // more connections to the upstream would be of no use
	// sequential is set where further segments are of no use.
	sequential bool
	stumbles   stumbles
	warned     bool // that the blob was cut off
	received   int64
	lent       int64 // of that, what is not the source's own
}

// restart lets segments begin that end with ctx. It is called while none runs.
func (w *workers) restart(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx, w.stop = context.WithCancel(ctx)
	w.stumbles = stumbles{}
}

// halt stops all segments.
func (w *workers) halt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
}

// new returns a segment that begins at pos, for launch.
func (w *workers) new(pos int64) *segment {
	s := &segment{w: w, pos: pos}
	s.ctx, s.stop = context.WithCancelCause(w.ctx)
	return s
}

// launch starts a segment. Either the fill does not yet wait for segments, or another
// one is running.
func (w *workers) launch(s *segment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.launchLocked(s)
}

func (w *workers) launchLocked(s *segment) {
	f := w.f
	f.Uplinks.Begin(f.Scope.Upstream)
	s.start, s.began = s.pos, f.Now()
	w.segments = append(w.segments, s)
	w.running.Go(func() {
		var err error
		func() {
			defer f.recovered(&err)
			s.work()
		}()
		if err != nil {
			f.fail(err)
		}
		s.close()
		f.Uplinks.End(f.Scope.Upstream, !s.intake.heard)
	})
}

// limitOf returns where the segment's claim ends, and the size of the blob.
func (w *workers) limitOf(s *segment) (limit, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size = w.f.outcome.size()
	return w.segments.limit(s, &w.f.content, size), size
}

// advance notes that n more bytes are in the part, and returns where the claim ends
// now, and with what the segment has to hash them; nil = somebody else does.
func (w *workers) advance(s *segment, n int64) (limit int64, own hash.Hash) {
	f := w.f
	limit, own, received := w.note(s, n)
	if f.Most > 0 && f.audience.refuse(&f.outcome, received) {
		f.abort()
	}
	f.changes.announce()
	return limit, own
}

// note is what advance does under the lock.
func (w *workers) note(s *segment, n int64) (limit int64, own hash.Hash, received int64) {
	f := w.f
	w.mu.Lock()
	defer w.mu.Unlock()
	now, size := f.Now(), f.outcome.size()
	s.speed.Add(n, now)
	prefix, missing := f.content.add(s.pos, s.pos+n, size)
	own = f.hasher.add(s.buffer, s.pos, int(n), prefix, f.busy())
	s.pos += n
	s.bytes += n
	w.received += n
	if s.intake.shared { // it says nothing of the line to the source
		w.lent += n
		s.intake.heard, s.intake.waited, s.goOn = true, 0, nil
	} else if w.measure(s, n, w.awaitsAt(s, prefix), max(missing, 0)/int64(len(w.segments)), now) {
		w.quicken(size)
	}
	return w.segments.limit(s, &f.content, size), own, w.received
}

// measure tells of n bytes that came over the line to the source, of which so many are left
// for each segment, and reports whether another segment may help; w.mu is held.
func (w *workers) measure(s *segment, n int64, awaited bool, left int64, now time.Time) (more bool) {
	a := w.f.Uplinks.Received(w.f.Scope.Upstream, pace.Receipt{
		Bytes: n, Waited: s.intake.waited, Queued: s.intake.queued, First: !s.intake.heard, Awaited: awaited, Left: left,
	}, now)
	s.intake.heard, s.intake.waited, s.goOn, w.each, w.crowded = true, 0, a.GoOn, a.Each, a.Crowded
	return a.More
}

// awaits reports whether a client waits for what the segment brings next.
func (w *workers) awaits(s *segment) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, prefix := w.f.content.at(0)
	return w.awaitsAt(s, prefix)
}

// awaitsAt is awaits where prefix is what is there from the beginning: readers begin
// there, except those that asked for a segment of their own. w.mu is held.
func (w *workers) awaitsAt(s *segment, prefix int64) bool {
	return (s.sought || s.pos == prefix) && w.f.audience.clients() > 0
}

// quicken adds a segment if that would help; w.mu is held.
func (w *workers) quicken(size int64) {
	f := w.f
	if len(w.segments) >= f.Parallel || w.sequential || f.outcome.halted() {
		return
	}
	off, ok := w.segments.widest(&f.content, size, w.each)
	if ok && f.crowds.Free(f.Scope.Upstream) && f.Uplinks.Take(f.Scope.Upstream) {
		s := w.new(off)
		s.extra = true
		w.launchLocked(s)
	}
}

// alone reports whether the segment is the only one, and makes it stay that.
func (w *workers) alone(s *segment) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequential = true
	return len(w.segments) == 1 && w.segments[0] == s
}

// claim moves the segment to the next gap that none works on, or retires it.
func (w *workers) claim(s *segment) bool {
	f := w.f
	w.mu.Lock()
	defer w.mu.Unlock()
	if !f.outcome.halted() {
		_, covered, _ := f.content.state()
		size := f.outcome.size()
		off, ok := w.segments.free(s, covered, size)
		if !ok && !w.sequential && !w.crowded && f.Parallel > 1 {
			// Nothing is left that nobody works on: share what others have most of.
			off, ok = w.segments.widest(&f.content, size, w.each)
		}
		if ok {
			s.begin(off, f.Now())
			return true
		}
	}
	w.retire(s)
	return false
}

// retire takes a segment out; w.mu is held.
func (w *workers) retire(s *segment) {
	w.segments = slices.DeleteFunc(w.segments, func(o *segment) bool { return o == s })
}

// reach sees to it that somebody works towards off, which is not covered. It
// returns after how long to ask again; 0 = at the next change.
func (w *workers) reach(off int64) time.Duration {
	f := w.f
	w.mu.Lock()
	defer w.mu.Unlock()
	size := f.outcome.size()
	if w.sequential || size < 0 || len(w.segments) == 0 || !f.outcome.well() {
		return 0
	}
	if _, there := f.content.at(off); there > off {
		return 0 // it has come since
	}
	if owner := w.segments.before(off); owner != nil {
		if again, far := owner.distant(off, f.content.missing(owner.pos, off), f.Now()); !far {
			return again
		}
	}
	if !w.segments.makePlace(max(maxSegments, f.Parallel+1), &f.content, size) {
		return settleTime
	}
	s := w.new(off)
	s.sought = true
	w.launchLocked(s)
	return 0
}

// bytes returns how many have come, and how many of these are not the source's own.
func (w *workers) bytes() (received, lent int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received, w.lent
}
