package memo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

func TestMemoIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](time.Second, time.Now)
		for i := range 3 * maxMemo {
			good := time.Hour
			if i%2 == 0 {
				good = time.Nanosecond
			}
			_, _, err := m.Get(t.Context(), fmt.Sprint(i), func(context.Context) (int, time.Duration, error) { return i, good, nil })
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Microsecond)
		}
		if n := len(m.entries); n > maxMemo {
			t.Errorf("%d entries", n)
		}
	})
}

// panicOf returns what fn panics with, if it does.
func panicOf(fn func()) (p any) {
	defer func() { p = recover() }()
	fn()
	return nil
}

// What panics in a goroutine of its own, where it would end the process, panics in
// those of the operations that wait for it, and stands in nobody's way.
func TestPanicOfMemo(t *testing.T) {
	m := New[int](time.Second, time.Now)
	fire := make(chan struct{})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			p := panicOf(func() {
				_, _, _ = m.Get(t.Context(), "k", func(context.Context) (int, time.Duration, error) {
					<-fire
					panic("a fault of the program")
				})
			})
			var e *panics.Error
			if err, ok := p.(error); !ok || !errors.As(err, &e) || !strings.Contains(e.Error(), "TestPanicOfMemo") {
				t.Errorf("it panics with %v", p)
			}
		})
	}
	close(fire)
	all.Wait()
	entry, _, err := m.Get(t.Context(), "k", func(context.Context) (int, time.Duration, error) { return 1, time.Hour, nil })
	if err != nil || entry.Value != 1 {
		t.Errorf("afterwards: %v, %v", entry, err)
	}
}
