package volume

import (
	"errors"
	"testing"
)

// What is promised to one part is not promised to another, and what it has written, or
// leaves, counts as it is.
func TestReservation(t *testing.T) {
	const total = 1 << 20
	free := Floor(total) + 1000
	s := NewSpace(func() (int64, int64, error) { return free, total, nil }, func() (int64, int64, error) { return 0, 0, nil })
	first, second := s.Part(800), s.Part(300)
	if err := first.Take(800); err != nil {
		t.Fatal(err)
	}
	if err := second.Take(300); !errors.Is(err, ErrNoSpace) {
		t.Errorf("beside it: %v", err)
	}
	if err := first.Spend(0, 500); err != nil {
		t.Error(err)
	}
	if left, _ := s.Unreserved(); left != Floor(total)+1000-500-300 {
		t.Errorf("unreserved are %d beyond the floor", left-Floor(total))
	}
	first.Release()
	free -= 500
	s.Forget()
	if err := second.Take(300); err != nil {
		t.Errorf("after it: %v", err)
	}
	free = Reserve(total) - 1
	s.Forget()
	if err := second.Spend(0, 10); !errors.Is(err, ErrNoSpace) {
		t.Errorf("write into the reserve: %v", err)
	}
}

// A part of unknown size is as large as what was written of it.
func TestReservationOfUnknownSize(t *testing.T) {
	plenty := func() (int64, int64, error) { return 1 << 40, 1 << 40, nil }
	p := NewSpace(plenty, plenty).Part(-1)
	if err := errors.Join(p.Take(-1), p.Spend(100, 10), p.Spend(0, 10)); err != nil || p.Known() != 110 {
		t.Errorf("it has %d bytes, %v", p.Known(), err)
	}
}

// Few inodes keep blobs out, and writes of the index not.
func TestFewInodes(t *testing.T) {
	plenty := func() (int64, int64, error) { return 1 << 40, 1 << 40, nil }
	s := NewSpace(plenty, func() (int64, int64, error) { return leastInodes - 1, 100, nil })
	if err := s.CheckFloor(1); !errors.Is(err, ErrNoInodes) || !errors.Is(err, ErrNoSpace) {
		t.Errorf("blob: %v", err)
	}
	if err := s.CheckReserve(); err != nil {
		t.Errorf("index: %v", err)
	}
}

// Claims are granted within the limits, all of them together, and end when they are
// fulfilled or dropped.
func TestClaims(t *testing.T) {
	var l Ledger
	l.Add(Tally{Blobs: 1, Bytes: 500, Upstreams: map[string]int64{"a": 500}})
	var first, second, third Claim
	if !l.Claim(&first, "a", 300, 1000, 0) || l.Claim(&second, "b", 300, 1000, 0) || !l.Claim(&third, "b", 200, 1000, 200) {
		t.Errorf("granted: %v, %v, %v", first.granted, second.granted, third.granted)
	}
	if l.Claim(&third, "b", 201, 0, 200) {
		t.Error("more than the limit of the upstream is granted")
	}
	if total, claimed := l.Balance(); total.Bytes != 500 || claimed.Bytes != 801 || claimed.Upstreams["a"] != 300 || !l.Granting() {
		t.Errorf("balance is %+v and %+v", total, claimed)
	}
	var stored Tally
	stored.Add("a", 300, 1)
	stored.Claims = []*Claim{&first}
	l.Add(stored)
	if l.Drop(&first) || !l.Drop(&second) || !l.Drop(&third) || !first.Fulfilled() || l.Granting() {
		t.Error("claims do not end")
	}
	if total, claimed := l.Balance(); total.Blobs != 2 || total.Upstreams["a"] != 800 || claimed.Bytes != 0 || l.Used() != 800 {
		t.Errorf("in the end: %+v and %+v", total, claimed)
	}
}
