package upstream

import (
	"sync/atomic"
	"time"
)

// pause is a time in which something is not done. A clock that is set back ends it, and
// cannot make it last longer. The zero value is over. Safe for concurrent use.
type pause struct{ now atomic.Pointer[period] }

type period struct{ began, end time.Time }

// begin begins anew.
func (p *pause) begin(now time.Time, last time.Duration) { p.now.Store(&period{now, now.Add(last)}) }

// left returns how long it still lasts.
func (p *pause) left(now time.Time) time.Duration {
	if s := p.now.Load(); s != nil && !now.Before(s.began) {
		return max(0, s.end.Sub(now))
	}
	return 0
}
