package mirror

import (
	"slices"
	"time"
)

const (
	// A reader whose bytes are not expected within farTime gets a segment of its own.
	farTime = time.Second
	// answerTime is how long a segment may take to begin, until its bytes are not
	// expected any more: an answer may take longer than what follows.
	answerTime = 2 * time.Second
	// settleTime is how long a segment runs before its speed is believed, and leaveTime
	// how long it takes to leave.
	settleTime = 250 * time.Millisecond
	leaveTime  = 10 * time.Millisecond
)

// want sees to it that somebody works towards off, which is not covered. It
// returns after how long to ask again; 0 = at the next change. f.mu is held.
func (f *fill) want(off int64) time.Duration {
	if f.sequential || f.size < 0 || len(f.segments) == 0 || f.err != nil || f.cause != nil {
		return 0
	}
	if owner := f.segments.before(off); owner != nil {
		if again, far := owner.distant(off, f.covered.missing(owner.pos, off), f.c.now()); !far {
			return again
		}
	}
	if !f.segments.makePlace(max(maxSegments, f.source.Parallel+1), f.seekers, f.size) {
		return settleTime
	}
	s := f.newSegment(off)
	s.wanted = true
	f.launch(s)
	return 0
}

// distant reports whether it will be long until the segment comes to off, with so many
// bytes before that; if not, after how long to look again, 0 = at the next change.
func (s *segment) distant(off, missing int64, now time.Time) (again time.Duration, far bool) {
	near := off-s.pos <= segmentBuffer // it may be reading just that
	switch {
	case near && s.leaving:
		return leaveTime, false
	case near:
		return 0, false
	case s.leaving:
		return 0, true
	}
	expected, measured, ok := s.speed.Wait(missing, now)
	switch waited := now.Sub(s.began); {
	case !ok:
		return max(answerTime-waited, 0), waited >= answerTime
	case measured < settleTime:
		return settleTime - measured, false
	}
	return settleTime, expected > farTime
}

// segments are those of one fill, in the order of their making.
type segments []*segment

// before returns the segment that comes to off by itself.
func (ss segments) before(off int64) (last *segment) {
	for _, s := range ss {
		if s.pos <= off && (last == nil || s.pos > last.pos) {
			last = s
		}
	}
	return last
}

// makePlace reports whether one more may be begun. Where there are enough, one that is
// only for speed, or else one that no reader waits for, is made to leave.
func (ss segments) makePlace(limit int, waiting seekers, size int64) bool {
	staying := 0
	var spare *segment
	for _, s := range ss {
		if s.leaving {
			continue
		}
		staying++
		if !waiting.within(s.pos, ss.reach(s, size)) && (spare == nil || s.extra && !spare.extra) {
			spare = s
		}
	}
	if staying < limit {
		return true
	}
	if spare == nil || len(ss) > 2*limit {
		return false
	}
	spare.leaving = true
	spare.stop(errReplaced)
	return true
}

// reach returns where the next one works, or the end.
func (ss segments) reach(s *segment, size int64) int64 {
	end := size
	for _, o := range ss {
		if o.pos > s.pos {
			end = min(end, o.pos)
		}
	}
	return end
}

// seekers are the places that readers of a fill wait at for bytes which are not there.
type seekers []int64

func (s *seekers) add(off int64) { *s = append(*s, off) }

func (s *seekers) remove(off int64) {
	if i := slices.Index(*s, off); i >= 0 {
		*s = slices.Delete(*s, i, i+1)
	}
}

// within reports whether somebody waits in [start, end).
func (s seekers) within(start, end int64) bool {
	return slices.ContainsFunc(s, func(off int64) bool { return start <= off && off < end })
}
