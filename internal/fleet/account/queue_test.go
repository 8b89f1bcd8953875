package account

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A task waits once, and is told of until it has ended, since when the oldest one waits.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, began := NewQueue[string](2), time.Now()
		want := func(n int, age time.Duration) {
			t.Helper()
			got, oldest := q.Backlog()
			if got != n || n > 0 && !oldest.Equal(began.Add(age)) || n == 0 && !oldest.IsZero() {
				t.Errorf("%d wait, the oldest since %v; want %d, %v", got, oldest.Sub(began), n, age)
			}
		}
		want(0, 0)
		if !q.Add("a", "a") {
			t.Error("there is no room")
		}
		time.Sleep(time.Second)
		if !q.Add("b") || q.Add("c", "a") {
			t.Error("there is room for two")
		}
		want(2, 0)
		first, end, ok := q.Next(t.Context())
		if first != "a" || !ok {
			t.Fatalf("the first is %q", first)
		}
		want(2, 0) // also while it runs
		time.Sleep(time.Second)
		if !q.Add("a") { // which is another one
			t.Error("there is no room")
		}
		want(3, 0)
		end()
		want(2, time.Second)
		for _, name := range []string{"b", "a"} {
			next, end, ok := q.Next(t.Context())
			if next != name || !ok {
				t.Errorf("the next is %q, want %q", next, name)
			}
			end()
		}
		want(0, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, ok := q.Next(ctx); ok {
			t.Error("there is one more")
		}
	})
}
