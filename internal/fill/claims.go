package fill

import (
	"math"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
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

// segments are those of one fill, in the order of their making, with their claims.
type segments []*segment

// limit returns where the claim of a segment ends.
func (ss segments) limit(s *segment, c *content, size int64) int64 {
	limit := c.gap(s.pos)
	if size >= 0 && limit > s.pos {
		limit = min(limit, size)
	}
	for _, other := range ss {
		if other.start > s.start {
			limit = min(limit, other.start)
		}
	}
	return limit
}

// free returns where a gap begins that no other segment works on.
func (ss segments) free(s *segment, covered oci.Extents, size int64) (off int64, ok bool) {
	for off = covered.End(0); off < size; {
		if !slices.ContainsFunc(ss, func(o *segment) bool { return o != s && o.pos == off }) {
			return off, true
		}
		next := covered.Next(off)
		if next == math.MaxInt64 {
			break
		}
		off = covered.End(next)
	}
	return 0, false
}

// widest returns the middle of the claim that is to take longest, if that is worth to
// be shared where each connection brings so many bytes per second.
func (ss segments) widest(c *content, size int64, each float64) (off int64, ok bool) {
	var most int64
	for _, s := range ss {
		if left := ss.limit(s, c, size) - s.pos; left > most {
			most, off = left, s.pos+left/2
		}
	}
	return off, size >= 0 && pace.WorthSplitting(most, each)
}

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
func (ss segments) makePlace(limit int, c *content, size int64) bool {
	staying := 0
	var surplus *segment
	for _, s := range ss {
		if s.leaving {
			continue
		}
		staying++
		if !c.sought(s.pos, ss.reach(s, size)) && (surplus == nil || s.extra && !surplus.extra) {
			surplus = s
		}
	}
	if staying < limit {
		return true
	}
	if surplus == nil || len(ss) > 2*limit {
		return false
	}
	surplus.leaving = true
	surplus.stop(errReplaced)
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
