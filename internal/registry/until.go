package registry

import (
	"context"
	"net/http"
	"time"
)

// cutAgain is how often an answer that has to end is cut, until it has ended: a
// server's guard sets deadlines of its own beside ours.
const cutAgain = 50 * time.Millisecond

// endInTime makes the exchange end when the handler's time is over, until the
// function that it returns is called. A wait for bytes ends through the
// context, and a write to a client that takes none fails.
func (x *exchange) endInTime() (stop func()) {
	until := x.until
	if until == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(x.ctx)
	x.ctx = ctx
	deadline := http.NewResponseController(x.w).SetWriteDeadline
	if x.guard != nil {
		deadline = x.guard.SetWriteDeadline // beside a write
	}
	over, ended := make(chan struct{}), make(chan struct{})
	unwatch := context.AfterFunc(until, func() {
		defer close(ended)
		cancel()
		tick := time.NewTicker(cutAgain)
		defer tick.Stop()
		for {
			_ = deadline(past) // a writer that knows none is one of no server
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		if !unwatch() {
			close(over)
			<-ended // the writer is the server's again
		}
	}
}
