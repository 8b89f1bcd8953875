package fill

import (
	"math"
	"slices"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What is there, what is missing, and who waits for it.
func TestContent(t *testing.T) {
	t.Parallel()
	var c content
	part := newMemory(100)
	if prefix := c.set(part, oci.Extents{{End: 10}, {Start: 50, End: 60}}); prefix != 10 {
		t.Errorf("%d bytes from the beginning", prefix)
	}
	for off, end := range map[int64]int64{0: 0, 9: 9, 10: 50, 49: 50, 55: 55, 60: math.MaxInt64} {
		if got := c.gap(off); got != end {
			t.Errorf("the gap at %d ends at %d, want %d", off, got, end)
		}
	}
	if prefix, missing := c.add(10, 50, 100); prefix != 60 || missing != 40 {
		t.Errorf("%d from the beginning, %d are missing", prefix, missing)
	}
	if p, end := c.at(20); p != Part(part) || end != 60 {
		t.Errorf("there up to %d", end)
	}
	if n := c.missing(55, 70); n != 10 {
		t.Errorf("%d missing", n)
	}
	_, covered, resumed := c.state()
	c.add(60, 70, 100)
	if !slices.Equal(covered, oci.Extents{{End: 60}}) {
		t.Errorf("a copy changes: %v", covered)
	}
	for range 2 {
		c.seek(80)
	}
	c.unseek(80)
	c.unseek(81)
	if !c.sought(80, 81) || c.sought(81, 100) || c.sought(70, 80) {
		t.Error("it is not known who waits where")
	}
	if !resumed {
		t.Error("what was there before is of an earlier fill")
	}
	c.unseek(80)
	if c.sought(0, 100) {
		t.Error("nobody waits any more")
	}
}
