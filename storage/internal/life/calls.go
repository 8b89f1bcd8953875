package life

import (
	"math"
	"sync/atomic"
)

// closedCalls is far below what the number of calls can bring above zero again.
const closedCalls = math.MinInt64 / 2

// calls counts the calls that are under way, so that Close can wait for them: as long
// as it likes, and no call waits for another.
type calls struct {
	n    atomic.Int64  // less by closedCalls once it is closed
	none chan struct{} // gets one when it is closed and none is under way
}

func newCalls() *calls { return &calls{none: make(chan struct{}, 1)} }

// enter begins a call, and reports false if it is closed. Whoever gets true has to leave.
func (c *calls) enter() bool {
	if c.n.Add(1) > 0 {
		return true
	}
	c.leave()
	return false
}

func (c *calls) leave() { c.tell(c.n.Add(-1)) }

// close lets no more calls begin, and returns what gets one when none is under way.
func (c *calls) close() <-chan struct{} {
	c.tell(c.n.Add(closedCalls))
	return c.none
}

func (c *calls) tell(n int64) {
	if n != closedCalls {
		return
	}
	select {
	case c.none <- struct{}{}:
	default:
	}
}
