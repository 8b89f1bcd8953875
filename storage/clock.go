package storage

import (
	"sync"
	"time"
)

const (
	// clockJump is how much the clock may move against the time that really
	// passes, and clockGap how far a run may begin from where the last one ended,
	// before the clock is in doubt.
	clockJump = time.Hour
	clockGap  = 30 * 24 * time.Hour
	// clockDoubt is for how long it then is.
	clockDoubt = 24 * time.Hour
)

// clockWatch tells whether the clock can be believed where something is going to be
// removed because of its age. Safe for concurrent use.
type clockWatch struct {
	mu    sync.Mutex
	at    time.Time     // what the clock said
	up    time.Duration // at this time since the opening
	until time.Duration // for how long it is in doubt
}

// begin begins the watch at the opening. last is when the store was last known to
// be open before; zero = unknown.
func (c *clockWatch) begin(last, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.up, c.until = now.Round(0), 0, 0
	if !last.IsZero() && now.Sub(last).Abs() > clockGap {
		c.until = clockDoubt
	}
}

// trusted reports whether the clock can be believed: it says now, a time up after
// the opening.
func (c *clockWatch) trusted(now time.Time, up time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if jump := now.Round(0).Sub(c.at) - (up - c.up); jump.Abs() > clockJump {
		c.at, c.up, c.until = now.Round(0), up, up+clockDoubt
	}
	return up >= c.until
}

// clockTrusted reports whether the clock can be believed.
func (s *Store) clockTrusted() bool { return s.clock.trusted(s.now(), s.uptime()) }
