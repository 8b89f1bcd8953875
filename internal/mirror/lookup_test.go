package mirror

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// looker looks one question up, and counts how often the upstream is asked.
type looker struct {
	view

	flights flights[int]
	asked   int
	ask     func(context.Context) (int, error)
}

func newLooker(t *testing.T) *looker {
	c := NewCache(CacheOptions{})
	t.Cleanup(c.Close)
	return &looker{
		view: view{Cache: c, upstream: &upstream{}, links: links{records: c.store, scope: oci.Scope{Upstream: "a", Repository: "b"}}},
		ask:  func(context.Context) (int, error) { return 7, nil },
	}
}

func (l *looker) look(ctx context.Context, change func(*question[int])) (answer[int], error) {
	q := question[int]{key: l.key(kindBlob, "x"), ask: func(ctx context.Context) (int, bool, error) {
		l.asked++
		n, err := l.ask(ctx)
		return n, err == nil, err
	}}
	if change != nil {
		change(&q)
	}
	return lookUp(ctx, l.view, &l.flights, q)
}

func wantLooked(t *testing.T, a answer[int], err error, value int, result oci.Result, detail string) {
	t.Helper()
	if s := a.status(err); a.value != value || s.Result != result || s.Detail != detail {
		t.Errorf("got %d, %+v, %v; want %d, %s %s", a.value, s, err, value, result, detail)
	}
}

// Who asks at the same time shares one question, and who leaves ends it for nobody.
func TestLookUpIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLooker(t)
		l.ask = func(context.Context) (int, error) { time.Sleep(time.Second); return 7, nil }
		leaving, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := l.look(leaving, nil)
			left <- err
		}()
		synctest.Wait()
		results := make(chan answer[int], 3)
		for range cap(results) {
			go func() {
				a, err := l.look(t.Context(), nil)
				if err != nil {
					t.Error(err)
				}
				results <- a
			}()
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		for range cap(results) {
			wantLooked(t, <-results, nil, 7, oci.ResultJoined, "")
		}
		if l.asked != 1 {
			t.Errorf("asked %d times", l.asked)
		}
	})
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	missing := oci.UpstreamError(oci.ClassNotFound, oci.CodeBlobUnknown, "none", nil)
	l := newLooker(t)
	a, err := l.look(t.Context(), nil)
	wantLooked(t, a, err, 7, oci.ResultMiss, "")
	if !a.stored {
		t.Error("it is not told that the answer is stored")
	}
	a, err = l.look(t.Context(), func(q *question[int]) { q.have = func(context.Context) (int, bool) { return 8, true } })
	wantLooked(t, a, err, 8, oci.ResultJoined, "")
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := l.look(ended, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	if l.asked != 1 {
		t.Errorf("asked %d times, want 1", l.asked)
	}
	// A failure that is noted elsewhere is not remembered; others are.
	l.ask = func(context.Context) (int, error) { return 0, missing }
	for range 2 {
		a, err = l.look(t.Context(), func(q *question[int]) { q.failed = func(_ context.Context, err error) error { return err } })
		wantLooked(t, a, err, 0, oci.ResultMiss, "")
	}
	a, err = l.look(t.Context(), nil)
	wantLooked(t, a, err, 0, oci.ResultMiss, "")
	a, err = l.look(t.Context(), nil)
	wantLooked(t, a, err, 0, oci.ResultHit, "negative")
	if l.asked != 4 || !oci.IsNotFound(err) {
		t.Errorf("asked %d times, want 4; %v", l.asked, err)
	}
}

// A question that panics is an error for the one who asks, and for nobody else.
func TestLookUpThatPanics(t *testing.T) {
	t.Parallel()
	l := newLooker(t)
	l.ask = func(context.Context) (int, error) { panic("x") }
	if _, err := l.look(t.Context(), nil); err == nil {
		t.Error("no error")
	}
	l.ask = func(context.Context) (int, error) { return 7, nil }
	a, err := l.look(t.Context(), nil)
	wantLooked(t, a, err, 7, oci.ResultMiss, "")
}
