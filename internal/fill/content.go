package fill

import (
	"slices"
	"sync"

	"github.com/pullgate/pullgate/internal/oci"
)

// content is what there is of a blob: the part, which of its bytes are there, and where
// readers wait for others. Safe for concurrent use.
type content struct {
	mu      sync.Mutex
	part    Part // nil = not yet, or the store has none
	covered oci.Extents
	resumed bool // the part holds bytes of an earlier fill
	seekers seekers
}

// set replaces the part. Whoever may use the old one has ended.
func (c *content) set(p Part, covered oci.Extents) (prefix int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part, c.covered, c.resumed = p, covered, len(covered) > 0
	return c.covered.End(0)
}

// close closes the part, if there is one.
func (c *content) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		return nil
	}
	return c.part.Close()
}

// state returns the part, a copy of what is there, and whether some of that is of an
// earlier fill.
func (c *content) state() (p Part, covered oci.Extents, resumed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.part, slices.Clone(c.covered), c.resumed
}

// add adds the bytes [start, end). It returns up to where there are all from the
// beginning, and how many of size are missing.
func (c *content) add(start, end, size int64) (prefix, missing int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.covered.Add(start, end)
	return c.covered.End(0), c.covered.Missing(0, size)
}

// at returns the part, and where the bytes end that are there from off on.
func (c *content) at(off int64) (Part, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.part, c.covered.End(off)
}

// gap returns where the bytes end that are missing from off on; off if it is there,
// math.MaxInt64 if nothing is behind it.
func (c *content) gap(off int64) (end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.covered.End(off) > off {
		return off
	}
	return c.covered.Next(off)
}

func (c *content) missing(start, end int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.covered.Missing(start, end)
}

// seek notes that a reader waits at off, until unseek.
func (c *content) seek(off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seekers = append(c.seekers, off)
}

func (c *content) unseek(off int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seekers.remove(off)
}

// sought reports whether a reader waits in [start, end).
func (c *content) sought(start, end int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seekers.within(start, end)
}

// seekers are the places that readers wait at for bytes which are not there.
type seekers []int64

func (s *seekers) remove(off int64) {
	if i := slices.Index(*s, off); i >= 0 {
		*s = slices.Delete(*s, i, i+1)
	}
}

func (s seekers) within(start, end int64) bool {
	return slices.ContainsFunc(s, func(off int64) bool { return start <= off && off < end })
}
