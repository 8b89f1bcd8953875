package registry

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"
)

// cutAgain is how often answers that have to end are cut, until they have ended: a
// server's guard sets deadlines of its own beside ours.
const cutAgain = 50 * time.Millisecond

// lifetimes are those of a handler's exchanges that are under way. It is safe for
// concurrent use.
type lifetimes struct {
	until context.Context

	mu      sync.Mutex
	all     map[*lifetime]struct{}
	cutting bool
}

// newLifetimes returns lifetimes that end with until; nil = never.
func newLifetimes(until context.Context) *lifetimes {
	if until == nil {
		return nil
	}
	all := &lifetimes{until: until, all: map[*lifetime]struct{}{}}
	context.AfterFunc(until, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.cutLocked()
	})
	return all
}

// begin adds one.
func (all *lifetimes) begin(l *lifetime) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.all[l] = struct{}{}
	if all.until.Err() != nil {
		all.cutLocked()
	}
}

// cutLocked cuts all that are under way, and those that begin meanwhile.
func (all *lifetimes) cutLocked() {
	if !all.cutting && len(all.all) > 0 {
		all.cutting = true
		go all.cut()
	}
}

func (all *lifetimes) cut() {
	tick := time.NewTicker(cutAgain)
	defer tick.Stop()
	var running []*lifetime
	for {
		running = running[:0]
		all.mu.Lock()
		for l := range all.all {
			running = append(running, l)
		}
		all.cutting = len(running) > 0
		all.mu.Unlock()
		if len(running) == 0 {
			return
		}
		for _, l := range running {
			l.cut()
		}
		<-tick.C
	}
}

// lifetime is the context of an exchange: it ends with that of the request, with the
// exchange, and with the handler's time. The three are put together once somebody waits:
// most answers are there at once. It is safe for concurrent use.
type lifetime struct {
	request context.Context
	all     *lifetimes
	w       http.ResponseWriter
	guard   Guard

	mu     sync.Mutex
	waited context.Context // nil = by nobody
	cancel context.CancelFunc
	over   bool // the writer is the server's again
}

var _ context.Context = (*lifetime)(nil)

// Deadline implements context.Context.
func (l *lifetime) Deadline() (time.Time, bool) { return l.request.Deadline() }

// Value implements context.Context.
func (l *lifetime) Value(key any) any {
	l.mu.Lock()
	ctx := cmp.Or(l.waited, l.request) // what package context asks of its own, too
	l.mu.Unlock()
	return ctx.Value(key)
}

// Done implements context.Context.
func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waited == nil {
		l.waited, l.cancel = context.WithCancel(l.request)
		if l.over || l.all.until.Err() != nil {
			l.cancel()
		}
	}
	return l.waited.Done()
}

// Err implements context.Context.
func (l *lifetime) Err() error {
	l.mu.Lock()
	waited, over := l.waited, l.over
	l.mu.Unlock()
	switch {
	case waited != nil:
		return waited.Err()
	case over || l.all.until.Err() != nil:
		return context.Canceled
	}
	return l.request.Err()
}

// cut ends waits for bytes, and writes to a client that takes none.
func (l *lifetime) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel()
	}
	switch {
	case l.over:
	case l.guard != nil:
		_ = l.guard.SetWriteDeadline(past) // beside a write
	default:
		_ = http.NewResponseController(l.w).SetWriteDeadline(past) // a writer that knows none is one of no server
	}
}

// end ends it with its exchange.
func (l *lifetime) end() {
	l.all.mu.Lock()
	delete(l.all.all, l)
	l.all.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.cancel != nil {
		l.cancel()
	}
}
