package mirror

import "time"

const (
	// A reader whose bytes are not expected within farTime gets a segment of its own.
	farTime = time.Second
	// answerTime is how long a segment may take to begin, until it is taken to be one
	// that its bytes are not expected of: an answer may take longer than what follows.
	answerTime = 2 * time.Second
	// settleTime is how long a segment runs before its speed is believed.
	settleTime = 250 * time.Millisecond
)

// want sees to it that somebody works towards off, which is not covered. It
// returns after how long to ask again; 0 = at the next change. f.mu is held.
func (f *fill) want(off int64) time.Duration {
	if f.sequential || f.size < 0 || len(f.segments) == 0 || f.err != nil || f.cause != nil {
		return 0
	}
	if owner := f.owner(off); owner != nil {
		if again, far := f.distant(owner, off); !far {
			return again
		}
	}
	if !f.makePlace() {
		return settleTime
	}
	s := f.newSegment(off)
	s.wanted = true
	f.launch(s)
	return 0
}

// owner returns the segment that comes to off by itself; f.mu is held.
func (f *fill) owner(off int64) (owner *segment) {
	for _, s := range f.segments {
		if s.pos <= off && (owner == nil || s.pos > owner.pos) {
			owner = s
		}
	}
	return owner
}

// distant reports whether it will be long until the segment comes to off; if not,
// after how long to look again, 0 = at the next change. f.mu is held.
func (f *fill) distant(s *segment, off int64) (again time.Duration, far bool) {
	if off-s.pos <= segmentBuffer && !s.leaving {
		return 0, false // it may be reading just that
	}
	now := f.c.now()
	expected, measured, ok := s.speed.wait(f.covered.missing(s.pos, off), now)
	if !ok {
		waited := now.Sub(s.began)
		return max(answerTime-waited, 0), waited >= answerTime
	}
	if measured < settleTime {
		return settleTime - measured, false
	}
	return settleTime, expected > farTime
}

// makePlace reports whether one more segment may be begun. Where there are enough,
// one that is only for speed, or that no reader waits for, leaves. f.mu is held.
func (f *fill) makePlace() bool {
	staying, limit := 0, max(maxSegments, f.source.Parallel+1)
	var spare *segment
	for _, s := range f.segments {
		if s.leaving {
			continue
		}
		staying++
		if f.seekers.within(s.pos, f.reach(s)) {
			continue
		}
		if spare == nil || s.extra && !spare.extra {
			spare = s
		}
	}
	if staying < limit {
		return true
	}
	if spare == nil || len(f.segments) > 2*limit {
		return false
	}
	spare.leaving = true
	spare.stop(errReplaced)
	return true
}

// reach returns where the segment that follows begins; f.mu is held.
func (f *fill) reach(s *segment) int64 {
	end := f.size
	for _, o := range f.segments {
		if o.pos > s.pos {
			end = min(end, o.pos)
		}
	}
	return end
}
