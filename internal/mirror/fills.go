package mirror

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// fillKey is what there is one fill of at a time: what one upstream sends is nothing to
// those who ask another one, before it is verified.
type fillKey struct {
	digest   digest.Digest
	identity string
}

func (v view) fillKey(d digest.Digest) fillKey { return fillKey{d, v.Identity} }

// fills are the running fills of a Cache. The zero value has none. Safe for concurrent
// use.
//
// Whoever is about to look for a blob, and to start a fill where there is none, reserves
// its place first: nobody else does so meanwhile, and nobody waits for the look who
// wants another blob.
type fills struct {
	mu    sync.Mutex
	byKey map[fillKey]*place
}

// place is that of one fill.
type place struct {
	fill *sharedFill   // nil = it is reserved
	free chan struct{} // closed once it is not reserved any more
}

// get returns the running fill; nil = there is none.
func (s *fills) get(k fillKey) *sharedFill {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byKey[k]; p != nil {
		return p.fill
	}
	return nil
}

// reserve reserves the place of a fill. Where that is taken, it returns the fill, with
// a reference of the caller's, or else what is closed when it is worth to try again: as
// somebody else has reserved it, or the fill has failed and is about to leave. admits
// says whether the caller may follow a fill; nil, nil = it may not.
func (s *fills) reserve(k fillKey, admits func(*sharedFill) bool) (mine *place, running *sharedFill, again <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.byKey[k]; {
	case p == nil:
		if s.byKey == nil {
			s.byKey = map[fillKey]*place{}
		}
		mine = &place{free: make(chan struct{})}
		s.byKey[k] = mine
		return mine, nil, nil
	case p.fill == nil:
		return nil, nil, p.free
	case !admits(p.fill):
		return nil, nil, nil
	case !p.fill.Retain():
		return nil, nil, p.fill.Done()
	default:
		return nil, p.fill, nil
	}
}

// release gives up a place that the caller has reserved.
func (s *fills) release(k fillKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byKey[k]
	delete(s.byKey, k)
	if p.fill == nil {
		close(p.free)
	}
}

// put puts a fill in its place, which the caller has reserved.
func (s *fills) put(k fillKey, f *sharedFill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byKey[k]
	p.fill = f
	close(p.free)
}

func (s *fills) all() (all []*sharedFill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byKey {
		if p.fill != nil {
			all = append(all, p.fill)
		}
	}
	return all
}
