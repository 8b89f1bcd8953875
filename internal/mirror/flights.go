package mirror

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/fill"
)

// flights lets concurrent callers share one question to an upstream. A flight
// belongs to the Cache and has its own deadline; callers only wait for it. The
// zero value is ready. Safe for concurrent use.
type flights[T any] struct {
	mu      sync.Mutex
	running map[key]*flight[T]
}

type flight[T any] struct {
	done   chan struct{} // closed once answer and err are set
	answer answer[T]
	err    error
	turn   *turn
}

// do returns what fn returns, from the running flight of k, or from a new one, which
// is led then. It returns early, with ctx's error, once ctx is done. A flight may start right after another one of k has ended, so fn
// first looks whether there is still something to ask.
//
// The flight takes a turn of the client that it is started for. Where there is
// none, the caller waits as long as the flight may take.
func (g *flights[T]) do(ctx context.Context, v view, k key, deadline time.Duration,
	fn func(context.Context) (answer[T], error),
) (answer[T], error) {
	by := joined
	if err := ctx.Err(); err != nil {
		return answer[T]{course: by}, err
	}
	g.mu.Lock()
	f := g.running[k]
	var turn *turn
	if f == nil {
		var ok bool
		if turn, ok = v.tryTurn(false, 0); !ok {
			g.mu.Unlock()
			var err error
			if turn, err = v.awaitTurn(ctx, false, deadline); err != nil {
				return answer[T]{course: by}, err
			}
			g.mu.Lock()
			f = g.running[k]
		}
	}
	if f != nil {
		turn.end() // somebody else has asked meanwhile
	} else {
		by = led
		f = g.launch(ctx, v.Cache, k, turn, deadline, fn)
	}
	g.mu.Unlock()
	if f == nil {
		return answer[T]{course: by}, fill.ErrClosed()
	}
	select {
	case <-f.done:
		a := f.answer
		a.course = by
		return a, f.err
	case <-ctx.Done():
		return answer[T]{course: by}, ctx.Err()
	}
}

// begin starts a flight that the caller does not wait for, unless one of k is
// running, or the client has no turn left.
func (g *flights[T]) begin(ctx context.Context, v view, k key, deadline time.Duration,
	fn func(context.Context) (answer[T], error),
) {
	turn, ok := v.tryTurn(false, 0)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running[k] != nil {
		turn.end()
		return
	}
	g.launch(ctx, v.Cache, k, turn, deadline, fn)
}

// launch starts a flight, to which the turn belongs then; g.mu is held. It
// returns nil once the Cache is closed.
func (g *flights[T]) launch(ctx context.Context, c *Cache, k key, turn *turn, deadline time.Duration,
	fn func(context.Context) (answer[T], error),
) *flight[T] {
	f := &flight[T]{done: make(chan struct{}), turn: turn}
	span := trace.SpanFromContext(ctx)
	if !c.start(func() { g.fly(trace.ContextWithSpan(c.ctx, span), c, k, f, deadline, fn) }) {
		turn.end()
		return nil
	}
	if g.running == nil {
		g.running = map[key]*flight[T]{}
	}
	g.running[k] = f
	return f
}

func (g *flights[T]) fly(ctx context.Context, c *Cache, k key, f *flight[T], deadline time.Duration,
	fn func(context.Context) (answer[T], error),
) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("look up %s %s:%s: panic: %v", k.kind, k.scope, k.ref, p)
			c.panics()
			c.log.Error("look-up panicked", "error", f.err, "stack", string(debug.Stack()))
		}
		g.mu.Lock()
		delete(g.running, k)
		g.mu.Unlock()
		f.turn.end()
		close(f.done)
	}()
	f.answer, f.err = fn(ctx)
}

func (g *flights[T]) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running)
}
