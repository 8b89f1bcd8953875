package life

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

func newLife() *Life { return New(slog.New(slog.DiscardHandler), func() {}, time.Millisecond) }

// The end waits for the calls that are under way, and lets none begin.
func TestClose(t *testing.T) {
	l := newLife()
	if err := l.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	none := l.Close()
	select {
	case <-none:
		t.Error("a call is under way")
	default:
	}
	if err := l.Within(t.Context(), func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a call after the end: %v", err)
	}
	l.Leave()
	<-none
}

// A call whose context has ended does not begin, and is not waited for.
func TestEnterWithEndedContext(t *testing.T) {
	l := newLife()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("enter: %v", err)
	}
	<-l.Close()
}

// A task ends with the life, and is waited for.
func TestTask(t *testing.T) {
	l := newLife()
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- l.Task(t.Context(), func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-begun
	l.End()
	<-l.Close()
	l.AwaitTasks()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("task: %v", err)
	}
}

// What panics is an error, and is tried again until it does not.
func TestPersist(t *testing.T) {
	l := newLife()
	if err := l.Guard("x", func() error { panic("a fault of the program") }); err == nil {
		t.Error("a panic is no error")
	}
	tries := 0
	l.Persist(t.Context(), "x", func() {
		if tries++; tries < 3 {
			panic("a fault of the program")
		}
	})
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
}
