package upstream

import (
	"sync"
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

// since returns when it last began; zero = never.
func (p *pause) since() time.Time {
	if s := p.now.Load(); s != nil {
		return s.began
	}
	return time.Time{}
}

// limit is a pause that a registry asks for. Until a second repository is asked for
// it, too, it is that of the first one alone. The zero value is none. Safe for
// concurrent use.
type limit struct {
	all pause

	mu  sync.Mutex
	one string
	own pause
}

// begin notes that a repository was told to pause.
func (l *limit) begin(repository string, now time.Time, last time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.one != "" && l.one != repository && l.own.left(now) > 0 {
		l.all.begin(now, last)
		return
	}
	l.one = repository
	l.own.begin(now, last)
}

// left returns how long a repository still has to pause.
func (l *limit) left(repository string, now time.Time) time.Duration {
	left := l.all.left(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.one == repository {
		left = max(left, l.own.left(now))
	}
	return left
}

// longest returns how long anybody still has to pause, and since when.
func (l *limit) longest(now time.Time) (left time.Duration, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, since = l.all.left(now), l.all.since()
	if own := l.own.left(now); own > left {
		left, since = own, l.own.since()
	}
	return left, since
}
