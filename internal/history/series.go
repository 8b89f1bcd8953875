package history

import (
	"fmt"
	"slices"
	"time"
)

// The steps, and for how long their points are kept.
const (
	Fine   = time.Minute
	Coarse = time.Hour

	minutesKept = 24 * time.Hour
	hoursKept   = 14 * 24 * time.Hour
)

// mostCount is more than anybody counts, and leaves room to add.
const mostCount = 1 << 60

// series are the points of steps of one length, by time.
type series struct {
	step, keep time.Duration
	points     []Point
}

// most is how many points there may be.
func (s *series) most() int { return int(s.keep/s.step) + 1 }

// add adds what was done from a time on. A clock that was set back makes points before
// others.
func (s *series) add(at time.Time, amounts Point, now time.Time) {
	at = at.UTC().Truncate(s.step)
	i, found := s.find(at)
	if !found {
		s.points = slices.Insert(s.points, i, Point{Time: at})
	}
	s.points[i].add(amounts)
	s.trim(now)
}

// find returns where the point of a time is, or would be.
func (s *series) find(at time.Time) (i int, found bool) {
	return slices.BinarySearchFunc(s.points, at, func(p Point, at time.Time) int { return p.Time.Compare(at) })
}

// trim drops what is too old. What is too much beside that are points of times to come,
// which a wrong clock has left.
func (s *series) trim(now time.Time) {
	old, _ := s.find(now.Add(-s.keep))
	s.points = slices.Delete(s.points, 0, old)
	s.points = s.points[:min(len(s.points), s.most())]
}

// between returns the points of the steps that began in a time.
func (s *series) between(since, now time.Time) []Point {
	from, _ := s.find(since)
	to, _ := s.find(now.Add(1))
	return slices.Clone(s.points[from:max(from, to)])
}

// check returns what is wrong with points that were read.
func (s *series) check() error {
	if len(s.points) > s.most() {
		return fmt.Errorf("%d points of %v, want at most %d", len(s.points), s.step, s.most())
	}
	var last time.Time
	for i, p := range s.points {
		if !p.Time.Equal(p.Time.Truncate(s.step)) || i > 0 && !p.Time.After(last) {
			return fmt.Errorf("point at %v is out of step", p.Time)
		}
		last = p.Time
		for _, n := range append(p.counts(), &p.Blobs) {
			if *n < 0 || *n > mostCount {
				return fmt.Errorf("point at %v counts %d", p.Time, *n)
			}
		}
	}
	return nil
}
