package caution

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recent
		r.Add("a", time.Second)
		if !r.Has("a") || r.Has("b") || !r.Drop("a") || r.Drop("a") {
			t.Error("it does not remember, or forget")
		}
		r.Add("a", time.Second)
		time.Sleep(time.Second)
		if r.Has("a") {
			t.Error("it remembers for too long")
		}
		for n := range maxRecent + 10 {
			r.Add(strconv.Itoa(n), time.Hour)
		}
		if len(r.until) > maxRecent {
			t.Errorf("it remembers %d", len(r.until))
		}
	})
}

// A breaker opens after some failures in a row, and closes once a probe goes well.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unwell, told, probes := errors.New("unwell"), 0, 0
		b := &Breaker{Context: t.Context(), Start: func(fn func()) { go fn() }, Told: func(bool, error) { told++ }, Probe: func(context.Context) error {
			if probes++; probes == 1 {
				return unwell
			}
			return nil
		}}
		for _, err := range []error{unwell, unwell, nil, unwell, unwell} {
			if b.Note(err); b.Open() != nil {
				t.Error("it opens too early")
			}
		}
		b.Note(unwell)
		began := time.Now()
		if s := b.State(); b.Open() == nil || !errors.Is(s.Err, unwell) || !s.Opened.Equal(began) || !s.Failed.Equal(began) {
			t.Errorf("it does not open: %+v", s)
		}
		if !b.Await(t.Context()) || time.Since(began) != 2*probeEvery {
			t.Errorf("it closes after %v", time.Since(began))
		}
		// What went wrong last is told on.
		if s := b.State(); !s.Opened.IsZero() || !errors.Is(s.Err, unwell) || s.Failed.Sub(began) != probeEvery {
			t.Errorf("it is well, and stands as %+v", s)
		}
		synctest.Wait()
		if told != 2 {
			t.Errorf("it tells %d times", told)
		}
	})
}
