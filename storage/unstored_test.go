package storage

import (
	"errors"
	"testing"
	"time"
)

// What there is no room for is told, until something as large is stored, or nobody asks
// any more.
func TestUnstored(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now, Limits: Limits{MaxSize: 1000}})
	large, _ := content(1, 2000)
	small, _ := content(2, 500)
	began := c.now()
	for range 2 {
		_, d := content(1, 2000)
		if _, err := s.Part(t.Context(), scope, d, int64(len(large))); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("error is %v", err)
		}
		c.move(time.Minute)
	}
	if u := s.Usage().Unstored; u == nil || !u.Since.Equal(began) || u.Bytes != 2000 || !u.Limit || u.Error != "blob of 2.0 KiB is larger than max_size of storage, 1000 B: did you mean 1000GiB?" {
		t.Errorf("unstored is %+v", u)
	}
	putBlob(t, s, small)
	if s.Usage().Unstored == nil {
		t.Error("a small blob shows that there is room for a large one")
	}
	s.SetLimits(Limits{MaxSize: 1 << 20})
	putBlob(t, s, large)
	if u := s.Usage().Unstored; u != nil {
		t.Errorf("it is stored, and unstored is %+v", u)
	}
	setVolume(s, 1<<20, 1<<30)
	b, d := content(3, 3000)
	if _, err := s.Part(t.Context(), scope, d, int64(len(b))); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("error is %v", err)
	}
	if u := s.Usage().Unstored; u == nil || u.Limit || u.Bytes != 3000 {
		t.Errorf("unstored is %+v", u)
	}
	c.move(unstoredFor)
	if u := s.Usage().Unstored; u != nil {
		t.Errorf("an hour later, unstored is %+v", u)
	}
}
