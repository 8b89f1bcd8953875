package storage

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// A stored pin keeps what one of the limits would keep, across a restart and an
// index that begins anew, until it is dropped.
func TestStoredPin(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	_, tagged := storeImage(t, s, scope, "3.20", 1, false)
	_, other := storeImage(t, s, scope, "edge", 2, false)
	p := pins(t, "docker.io/alpine:3.*")[0]
	for n, want := range []bool{true, false} {
		if added, err := s.Pin(t.Context(), p); added != want || err != nil {
			t.Errorf("pin %d: %v, %v", n, added, err)
		}
		c.move(time.Hour)
	}
	if _, err := s.Pin(t.Context(), oci.Pin{}); err == nil {
		t.Error("nothing was pinned")
	}
	check := func(s *Store) {
		t.Helper()
		stored, err := s.Pins(t.Context())
		if err != nil || len(stored) != 1 || stored[0].String() != "docker.io/library/alpine:3.*" || !stored[0].Made.Equal(newClock().now()) {
			t.Errorf("pins are %+v, %v", stored, err)
		}
	}
	s = reopen(t, s)
	check(s)
	c.move(1000 * time.Hour)
	for !s.Usage().Counted { // until then, what was here before stays
		time.Sleep(time.Millisecond)
	}
	s.limits.Store(&Limits{MaxSize: 1, MaxUnused: time.Hour})
	for range 8 {
		s.keeper.eviction.Pass(t.Context())
		if err := s.keeper.forgetting.forget(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, s, "pinned", tagged, true)
	wantStored(t, s, "not pinned", other, false)
	if _, err := s.Tag(t.Context(), scope, "3.20"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Rebuild(t.Context(), Options{Path: s.home.path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check(s)
	if report, err := s.Check(t.Context(), CheckOptions{Verify: true, Repair: true}); err != nil || report.Counts[FindingRecord].Found != 0 {
		t.Errorf("check: %+v, %v", report, err)
	}
	check(s)
	for n, want := range []bool{true, false} {
		if dropped, err := s.Unpin(t.Context(), p); dropped != want || err != nil {
			t.Errorf("unpin %d: %v, %v", n, dropped, err)
		}
	}
	s.limits.Store(&Limits{MaxSize: 1})
	s.keeper.eviction.Pass(t.Context())
	wantStored(t, s, "pinned no more", tagged, false)
}
