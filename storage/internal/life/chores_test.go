package life

import (
	"log/slog"
	"testing"
	"time"
)

// A chore that panics rests, and keeps none of the others from being done.
func TestOthersGoOn(t *testing.T) {
	panics, done := 0, 0
	c := New(slog.New(slog.DiscardHandler), func() { panics++ }, time.Hour).Chores()
	defer c.End()
	for range 3 {
		c.Do("x", func() { panic("a fault of the program") })
		c.Do("other", func() { done++ })
	}
	if done != 3 || panics != 1 || len(c.resting) != 1 {
		t.Errorf("%d others, %d panics, resting %v", done, panics, c.resting)
	}
}

// The rest of what goes on panicking doubles up to its end.
func TestRest(t *testing.T) {
	c := New(slog.New(slog.DiscardHandler), func() {}, 4*time.Minute).Chores()
	defer c.End()
	for _, want := range []time.Duration{4 * time.Minute, 8 * time.Minute, restMost, restMost} {
		c.Do("x", func() { panic("a fault of the program") })
		if got := c.resting["x"].last; got != want {
			t.Errorf("rest is %v, want %v", got, want)
		}
		c.resting["x"].until = time.Now()
	}
	c.Again()
	c.resting["x"].until = time.Now()
	c.Do("x", func() {})
	if len(c.resting) != 0 {
		t.Error("what is well again still rests")
	}
}
