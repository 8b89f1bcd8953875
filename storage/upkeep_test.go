package storage

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// When blobs were last scrubbed, and the index was last saved, is known at once, and after
// a restart.
func TestUpkeepIsTold(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	if u := s.Usage().Upkeep; u != (Upkeep{}) {
		t.Errorf("of a new store, %+v", u)
	}
	putTagged(t, s, scope, "1", nil, 1)
	s.keeper.snapshots.Save(t.Context(), true)
	if at := s.Usage().Snapshot; !at.Equal(c.now()) {
		t.Errorf("the snapshot is of %v, want %v", at, c.now())
	}
	scrubbed := c.now().Add(-time.Hour)
	s.home.state.Note(func(st *volume.State) { st.Scrubbed = scrubbed })
	c.move(time.Hour)
	putTagged(t, s, scope, "2", nil, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: s.home.path, Now: c.now})
	if u := s.Usage().Upkeep; !u.Scrubbed.Equal(scrubbed) || !u.Snapshot.Equal(c.now()) {
		t.Errorf("%+v, want %v and %v", u, scrubbed, c.now())
	}
	// One that is removed counts no more.
	for _, name := range mustSnapshots(t, s) {
		if err := s.keeper.snapshots.Remove(name); err != nil {
			t.Fatal(err)
		}
		if want := index.SnapshotMade(name).Add(-time.Hour); s.Usage().Snapshot.After(want) {
			t.Errorf("without %s, the snapshot is of %v", name, s.Usage().Snapshot)
		}
	}
	if at := s.Usage().Snapshot; !at.IsZero() {
		t.Errorf("there is none, and it is of %v", at)
	}
}

// What the index takes is known at once, and is what it takes of the disk: its files are
// sparse, and much longer.
func TestIndexIsMeasuredAtOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for _, what := range []string{"of a new store", "of one that was there"} {
		if got := s.Usage().IndexBytes; got == 0 || got > 16<<20 {
			t.Errorf("%s, the index takes %d bytes", what, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, Options{Path: s.home.path})
	}
}
