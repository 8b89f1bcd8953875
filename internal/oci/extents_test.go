package oci

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The extents against a bitmap.
func TestExtents(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const size = 64
	for range 2000 {
		var e Extents
		var bits [size + 1]bool
		for range random.IntN(10) {
			start := random.Int64N(size)
			end := start + random.Int64N(size-start+1)
			e.Add(start, end)
			for i := start; i < end; i++ {
				bits[i] = true
			}
		}
		var want Extents
		for i := range int64(size) {
			switch {
			case bits[i] && (i == 0 || !bits[i-1]):
				want = append(want, Extent{Start: i, End: i + 1})
			case bits[i]:
				want[len(want)-1].End = i + 1
			}
		}
		if !slices.Equal(e, want) {
			t.Fatalf("got %v, want %v", e, want)
		}
		off := random.Int64N(size)
		end := off
		for bits[end] {
			end++
		}
		if got := e.End(off); got != end {
			t.Fatalf("%v ends from %d at %d, want %d", e, off, got, end)
		}
		missing := int64(0)
		for i := off; i < size; i++ {
			if !bits[i] {
				missing++
			}
		}
		if got := e.Missing(off, size); got != missing {
			t.Fatalf("%v misses %d from %d, want %d", e, got, off, missing)
		}
	}
}
