package fill

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// changes wakes those who wait for something about a fill to change. Who waits asks
// for seen first, looks, and then waits for a change after that: so none is missed,
// under whatever lock it was made. The zero value is ready. Safe for concurrent use.
type changes struct {
	count atomic.Uint64

	mu   sync.Mutex
	next chan struct{} // closed at the next change; nil = nobody waits
}

// announce wakes whoever waits.
func (c *changes) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Add(1)
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

func (c *changes) seen() uint64 { return c.count.Load() }

// after returns what is closed once there was a change after seen; nil if there was.
func (c *changes) after(seen uint64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count.Load() != seen {
		return nil
	}
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

// wait waits for a change after seen, for ctx, and for the timer unless that is nil.
func (c *changes) wait(ctx context.Context, seen uint64, timer <-chan time.Time) (fired bool) {
	change := c.after(seen)
	if change == nil {
		return false
	}
	select {
	case <-change:
	case <-timer:
		return true
	case <-ctx.Done():
	}
	return false
}
