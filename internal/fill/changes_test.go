package fill

import (
	"context"
	"testing"
	"time"
)

// A change that comes between a look and the wait for the next one is not missed.
func TestNoChangeIsMissed(t *testing.T) {
	t.Parallel()
	var c changes
	seen := c.seen()
	c.announce()
	if c.wait(t.Context(), seen, nil) {
		t.Error("a timer has fired that there is not")
	}
	seen = c.seen()
	select {
	case <-c.after(seen):
		t.Fatal("one is seen twice")
	default:
	}
	for range 100 {
		seen := c.seen()
		go c.announce()
		c.wait(t.Context(), seen, nil)
	}
	timer := make(chan time.Time, 1)
	timer <- time.Time{}
	if !c.wait(t.Context(), c.seen(), timer) {
		t.Error("the timer has fired")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.wait(ctx, c.seen(), nil)
}
