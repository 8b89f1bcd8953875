package eviction

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// A cut takes the oldest first, and of the rank at which it ends no more than its share.
func TestCut(t *testing.T) {
	for _, c := range []struct{ excess, taken int64 }{{0, 0}, {5, 5}, {10, 10}, {25, 25}, {1000, 60}} {
		r := ranks{1: 10, 2: 20, 3: 30}
		one := cutOf(r, c.excess)
		if taken := one.apply(r); taken != c.taken {
			t.Errorf("of an excess of %d, %d are taken", c.excess, taken)
		}
		var blobs int64
		for rank, size := range []int64{1: 10, 2: 20, 3: 30} {
			if size > 0 && one.takes(int64(rank), size) {
				blobs += size
			}
		}
		if blobs < c.taken {
			t.Errorf("of an excess of %d, blobs of %d go", c.excess, blobs)
		}
	}
}

// What is pinned, open or not known to be pinned stays, however old it is.
func TestDecisionSpares(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	old, open := volume.ID("\x01old"), volume.ID("\x01open")
	d := decision{
		now: now, unused: now, from: now.Add(-time.Hour), inUse: func(i volume.ID) bool { return i == open },
		old: cut{rank: now.Unix() + 1}, all: cut{rank: now.Unix() + 1},
	}
	known := index.Blob{Size: 1, Created: now.Add(-time.Minute)}
	for name, c := range map[string]struct {
		i    volume.ID
		r    index.Blob
		goes bool
	}{
		"old": {old, known, true}, "open": {open, known, false},
		"of an earlier run": {old, index.Blob{Size: 1, Created: now.Add(-2 * time.Hour)}, false},
	} {
		if got := d.goes(c.i, c.r, 0); got != c.goes {
			t.Errorf("%s: goes %v", name, got)
		}
	}
}
