package life

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// Survives calls fn, and reports whether that went without a panic: one in the
// background must never take the server down.
func (l *Life) Survives(task string, fn func()) bool {
	err := l.Guard(task, func() error { fn(); return nil })
	return err == nil
}

// Guard calls fn, and makes an error of a panic.
func (l *Life) Guard(task string, fn func() error) (err error) {
	defer l.recovered(task, &err)
	return fn()
}

// recovered, deferred, makes an error of a panic, and logs and counts it.
func (l *Life) recovered(task string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: panic: %v", task, p)
		l.panicked()
		l.log.Error("storage panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}

// Persist calls fn until it ends without a panic, or ctx is done.
func (l *Life) Persist(ctx context.Context, task string, fn func()) {
	for rest := l.rest; !l.Survives(task, fn); rest = min(2*rest, restMost) {
		wait := time.NewTimer(rest)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}
