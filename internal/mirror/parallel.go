package mirror

import (
	"github.com/pullgate/pullgate/internal/pace"
)

// quicken adds a segment if that would help; f.mu is held. each is how fast one
// connection is.
func (f *fill) quicken(each float64) {
	if len(f.segments) >= f.source.Parallel || f.sequential || f.halted() {
		return
	}
	off, ok := f.splitting(each)
	if ok && f.c.crowds.Free(f.source.Identity) && f.c.uplinks.Take(f.source.Identity) {
		s := f.newSegment(off)
		s.extra = true
		f.launch(s)
	}
}

// splitting returns the middle of the claim that is to take longest, if that is
// worth to be shared; f.mu is held.
func (f *fill) splitting(each float64) (off int64, ok bool) {
	var most int64
	for _, s := range f.segments {
		if left := f.limitLocked(s) - s.pos; left > most {
			most, off = left, s.pos+left/2
		}
	}
	return off, pace.WorthSplitting(most, each)
}

// standBack waits until over is closed, or a client waits for what comes next.
func (f *fill) standBack(s *segment, over <-chan struct{}) {
	f.c.uplinks.Stand(f.source.Identity, 1)
	defer f.c.uplinks.Stand(f.source.Identity, -1)
	for {
		f.mu.Lock()
		awaited, change := f.awaited(s) || f.halted(), f.waiting()
		f.mu.Unlock()
		if awaited {
			return
		}
		select {
		case <-over:
			return
		case <-s.ctx.Done():
			return
		case <-change:
		case <-f.c.after(pace.LookEvery):
			f.c.uplinks.Look(f.source.Identity, f.c.now())
		}
	}
}

// awaited reports whether a client waits for what the segment brings next: readers
// begin at the beginning, but for those that asked for a segment of their own. f.mu
// is held.
func (f *fill) awaited(s *segment) bool {
	return f.refs > 1 && (s.wanted || s.pos == f.covered.end(0))
}
