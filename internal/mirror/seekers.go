package mirror

import "slices"

// seekers are the places that readers of a fill wait at for bytes which are not there.
type seekers []int64

func (s *seekers) add(off int64) { *s = append(*s, off) }

func (s *seekers) remove(off int64) {
	if i := slices.Index(*s, off); i >= 0 {
		*s = slices.Delete(*s, i, i+1)
	}
}

// within reports whether somebody waits in [start, end).
func (s seekers) within(start, end int64) bool {
	return slices.ContainsFunc(s, func(off int64) bool { return start <= off && off < end })
}
