package oci

import (
	"math"
	"slices"
)

// Extent is the bytes [Start, End) of a blob.
type Extent struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Extents are the bytes of a blob that are there: sorted, disjoint, not
// touching, none empty.
type Extents []Extent

// Add adds the bytes [start, end), of which none need be new.
func (e *Extents) Add(start, end int64) {
	if end <= start {
		return
	}
	i, _ := slices.BinarySearchFunc(*e, start, func(x Extent, start int64) int {
		if x.End < start {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(*e) && (*e)[j].Start <= end; j++ {
		start, end = min(start, (*e)[j].Start), max(end, (*e)[j].End)
	}
	*e = slices.Replace(*e, i, j, Extent{Start: start, End: end})
}

// End returns where the bytes that are there from off on end; off if there are
// none.
func (e Extents) End(off int64) int64 {
	for _, x := range e {
		if x.Start <= off && off < x.End {
			return x.End
		}
	}
	return off
}

// Next returns the beginning of the first extent behind off, or MaxInt64.
func (e Extents) Next(off int64) int64 {
	for _, x := range e {
		if x.Start > off {
			return x.Start
		}
	}
	return math.MaxInt64
}

// Missing returns how many bytes of [start, end) are not there.
func (e Extents) Missing(start, end int64) int64 {
	n := end - start
	for _, x := range e {
		n -= max(0, min(end, x.End)-max(start, x.Start))
	}
	return n
}

// Total returns how many bytes are there.
func (e Extents) Total() (n int64) {
	for _, x := range e {
		n += x.End - x.Start
	}
	return n
}
