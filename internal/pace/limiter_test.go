package pace

import (
	"context"
	"testing"
	"testing/synctest"
)

// Places are handed over in order, each kind has its own, and who gives up waiting
// takes none along.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter[string]
		want := func(used, waiting int) {
			t.Helper()
			synctest.Wait()
			if u, w := l.Count(); u != used || w != waiting {
				t.Fatalf("%d are in and %d wait, want %d and %d", u, w, used, waiting)
			}
		}
		var order []int
		enter := func(ctx context.Context, who int) {
			if l.Enter(ctx, "a", 2) == nil {
				order = append(order, who)
			}
		}
		ctx, giveUp := context.WithCancel(t.Context())
		enter(t.Context(), 0)
		enter(t.Context(), 1)
		for who, ctx := range []context.Context{t.Context(), ctx, t.Context()} {
			go enter(ctx, 2+who)
			want(2, 1+who)
		}
		if l.TryEnter("a", 2, 0) || !l.TryEnter("b", 2, 1) || l.TryEnter("b", 2, 1) || !l.TryEnter("b", 0, 9) {
			t.Error("another kind has not its own places")
		}
		want(4, 3)
		giveUp()
		want(4, 2)
		for range 2 {
			l.Leave("a")
			l.Leave("b")
			synctest.Wait()
		}
		want(2, 0)
		if len(order) != 4 || order[2] != 2 || order[3] != 4 {
			t.Errorf("they came in as %v", order)
		}
		l.Leave("a")
		l.Leave("a")
		if l.TryEnter("a", 1, 1) || len(l.lanes) != 0 {
			t.Errorf("%d kinds are remembered of which none is in", len(l.lanes))
		}
	})
}

// A place that is handed over to one who gives up at the same moment is not lost.
func TestLimiterLosesNoPlace(t *testing.T) {
	var l Limiter[int]
	for range 1000 {
		if err := l.Enter(t.Context(), 0, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() { got <- l.Enter(ctx, 0, 1) }()
		go cancel()
		l.Leave(0)
		if <-got == nil {
			l.Leave(0)
		}
		if used, waiting := l.Count(); used != 0 || waiting != 0 {
			t.Fatalf("%d are in and %d wait", used, waiting)
		}
	}
}

// Who has no limit takes a place beside those of others, and leaves them no more than they
// may have.
func TestLimiterIsNotWidened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter[int]
		want := func(used, waiting int) {
			t.Helper()
			synctest.Wait()
			if u, w := l.Count(); u != used || w != waiting {
				t.Fatalf("%d are in and %d wait, want %d and %d", u, w, used, waiting)
			}
		}
		enter := func(limit int) {
			if err := l.Enter(t.Context(), 0, limit); err != nil {
				t.Error(err)
			}
		}
		enter(1)
		go enter(1)
		go enter(1)
		enter(0)
		want(2, 2)
		l.Leave(0)
		want(1, 2)
		for left := range 3 {
			l.Leave(0)
			want(min(1, 2-left), max(0, 1-left))
		}
	})
}
