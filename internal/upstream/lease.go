package upstream

import (
	"context"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// lease bounds what one endpoint may take of an operation's time.
type lease struct {
	cancel context.CancelCauseFunc
	last   bool // there is no other endpoint to ask

	mu      sync.Mutex
	timer   *time.Timer
	budget  time.Duration
	kept    bool
	over    bool
	longer  time.Duration // how long it may take in all, if granted
	granted bool
}

// appealShare is the part of the budget after which it is found out whether to wait
// for longer, so that an end of it is not put off by that.
const appealShare = 0.6

func newLease(cancel context.CancelCauseFunc, budget time.Duration) *lease {
	l := &lease{cancel: cancel, budget: budget}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(budget, l.end)
	return l
}

// end ends the time, unless longer was granted.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.kept, l.over:
	case l.granted:
		l.timer.Reset(l.longer - l.budget)
		l.granted = false
	default:
		l.over = true
		l.cancel(wire.ErrBudget)
	}
}

// appeal has the last endpoint that there is get more time, namely longer in all, if
// it turns out to be alive before its budget is used up.
func (l *lease) appeal(alive func() bool, longer time.Duration) (withdraw func()) {
	if !l.last || longer <= l.budget {
		return func() {}
	}
	timer := time.AfterFunc(time.Duration(float64(l.budget)*appealShare), func() {
		if alive() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.longer, l.granted = longer, true
		}
	})
	return func() { timer.Stop() }
}

// isKept reports whether somebody keeps the context, and stops the clock if not.
func (l *lease) isKept() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer.Stop()
	l.over = !l.kept
	return l.kept
}

// keep lets the context live on beyond the operation, without its deadline; the
// caller of keep calls cancel then.
func (l *lease) keep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer.Stop()
	l.kept = !l.over
	return l.kept
}

// within gives fn a context that ends after the budget, or with fn.
func within[T any](
	ctx context.Context, budget time.Duration, fn func(context.Context, *lease) (T, error),
) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := newLease(cancel, budget)
	value, err := fn(ctx, l)
	if err != nil {
		// While the context still tells why it ended.
		err = wire.AsFailure(ctx, "the upstream", err)
	}
	if !l.isKept() {
		cancel(nil)
	}
	return value, err
}
