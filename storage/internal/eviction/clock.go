package eviction

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

// Clock tells whether the clock can be believed where something is going to be
// removed because of its age. Safe for concurrent use.
type Clock struct {
	now    func() time.Time
	Uptime func() time.Duration // since the opening, whatever becomes of the clock

	mu    sync.Mutex
	at    time.Time     // what the clock said
	up    time.Duration // at this time since the opening
	until time.Duration // for how long it is in doubt
}

// NewClock returns the watch of a clock.
func NewClock(now func() time.Time, uptime func() time.Duration) *Clock {
	return &Clock{now: now, Uptime: uptime}
}

// Begin begins the watch at the opening. last is when the store was last known to
// be open before; zero = unknown.
func (c *Clock) Begin(last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.at, c.up, c.until = now.Round(0), 0, 0
	if !last.IsZero() && now.Sub(last).Abs() > clockGap {
		c.until = clockDoubt
	}
}

// Trusted reports whether the clock can be believed.
func (c *Clock) Trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	up := c.Uptime()
	now := c.now().Round(0)
	if jump := now.Sub(c.at) - (up - c.up); jump.Abs() > clockJump {
		c.at, c.up, c.until = now, up, up+clockDoubt
	}
	return up >= c.until
}
