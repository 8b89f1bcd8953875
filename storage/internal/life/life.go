// Package life is the time from the opening of a store to its close: the calls and tasks
// that are under way, and what becomes of those that panic.
package life

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrClosed is what is called after the end.
var ErrClosed = errors.New("storage is closed")

// Life is that of one store. Its methods are safe for concurrent use.
type Life struct {
	log      *slog.Logger
	panicked func()
	rest     time.Duration

	calls *calls
	ctx   context.Context // ends when the end begins
	end   context.CancelFunc
	tasks sync.WaitGroup // what takes longer than a call
}

// New begins a life. panicked is called for each panic, and rest is how long what has
// panicked rests first.
func New(log *slog.Logger, panicked func(), rest time.Duration) *Life {
	l := &Life{log: log, panicked: panicked, rest: rest, calls: newCalls()}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// Enter begins a call, which has to Leave. It is ErrClosed once no more may begin, and
// the error of ctx if that has ended.
func (l *Life) Enter(ctx context.Context) error {
	if !l.calls.enter() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		l.Leave()
		return err
	}
	return nil
}

// Leave ends a call.
func (l *Life) Leave() { l.calls.leave() }

// Within calls fn as a call.
func (l *Life) Within(ctx context.Context, fn func() error) error {
	if err := l.Enter(ctx); err != nil {
		return err
	}
	defer l.Leave()
	return fn()
}

// Context ends when the end begins.
func (l *Life) Context() context.Context { return l.ctx }

// End begins the end: what waits for anything gives up.
func (l *Life) End() { l.end() }

// Close lets no more calls begin, and returns what gets one when none is under way.
func (l *Life) Close() <-chan struct{} { return l.calls.close() }

// AwaitTasks returns when no task is left. No more may begin.
func (l *Life) AwaitTasks() { l.tasks.Wait() }

// Begin begins a task that is to call the function returned in the end; ErrClosed once
// no more may begin.
func (l *Life) Begin(ctx context.Context) (end func(), err error) {
	if err := l.Enter(ctx); err != nil {
		return nil, err
	}
	l.tasks.Add(1)
	l.Leave()
	return l.tasks.Done, nil
}

// Task calls fn, which takes long, within the life of the store: ctx ends when that
// ends, and the error is ErrClosed then. Close waits for it as for the house keeper.
func (l *Life) Task(ctx context.Context, fn func(context.Context) error) error {
	end, err := l.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return l.Bound(ctx, fn)
}

// Bound calls fn with a context that ends with the life of the store, too: the error is
// ErrClosed then. Nobody waits for it.
func (l *Life) Bound(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(l.ctx, func() { cancel(ErrClosed) })
	defer stop()
	err := fn(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}
