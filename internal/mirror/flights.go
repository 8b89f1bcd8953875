package mirror

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// flights lets concurrent callers share one question to an upstream. A flight
// belongs to the Cache and has its own deadline; callers only wait for it. The
// zero value is ready. Safe for concurrent use.
type flights[T any] struct {
	mu      sync.Mutex
	running map[key]*flight[T]
}

type flight[T any] struct {
	done  chan struct{} // closed once value and err are set
	value T
	err   error
}

// do returns what fn returns, from the running flight of k or from a new one;
// led says that this call started it. It returns early, with ctx's error, once
// ctx is done. A flight may start right after another one of k has ended, so fn
// first looks whether there is still something to ask.
func (g *flights[T]) do(ctx context.Context, c *Cache, k key, deadline time.Duration,
	fn func(context.Context) (T, error),
) (value T, led bool, err error) {
	g.mu.Lock()
	f := g.running[k]
	if f == nil {
		led = true
		f = &flight[T]{done: make(chan struct{})}
		span := trace.SpanFromContext(ctx)
		if !c.start(func() { g.fly(trace.ContextWithSpan(c.ctx, span), c, k, f, deadline, fn) }) {
			g.mu.Unlock()
			return value, led, errClosed()
		}
		if g.running == nil {
			g.running = map[key]*flight[T]{}
		}
		g.running[k] = f
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.value, led, f.err
	case <-ctx.Done():
		return value, led, ctx.Err()
	}
}

func (g *flights[T]) fly(ctx context.Context, c *Cache, k key, f *flight[T], deadline time.Duration,
	fn func(context.Context) (T, error),
) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			f.err = fmt.Errorf("look up %s %s:%s: panic: %v", k.kind, k.scope, k.ref, p)
			c.log.Error("look-up panicked", "error", f.err, "stack", string(debug.Stack()))
		}
		g.mu.Lock()
		delete(g.running, k)
		g.mu.Unlock()
		close(f.done)
	}()
	f.value, f.err = fn(ctx)
}

func (g *flights[T]) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running)
}
