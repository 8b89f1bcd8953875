package caution

import (
	"testing"
	"testing/synctest"
	"time"
)

// What is under way has begun when it was noted first, until it ends.
func TestBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Begun[int]
		if _, ok := b.End(1); ok || b.Before(1, time.Now()) {
			t.Error("something is under way")
		}
		first := time.Now()
		b.Note(1)
		time.Sleep(time.Second)
		b.Note(1)
		if !b.Before(1, first) || b.Before(1, first.Add(-1)) || b.Before(2, first) {
			t.Error("it has not begun when it was noted first")
		}
		if since, ok := b.End(1); !ok || !since.Equal(first) {
			t.Errorf("since %v, %v", since, ok)
		}
		if _, ok := b.End(1); ok {
			t.Error("it ends twice")
		}
		for n := range 2 * maxBegun {
			b.Note(n)
		}
		if len(b.since) != maxBegun {
			t.Errorf("%d are remembered", len(b.since))
		}
	})
}
