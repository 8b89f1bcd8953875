package storage

import (
	"fmt"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// wayLooks is how many looks at the limits that change nothing a finished blob
	// waits for: what is used while one is under way may be left to the next.
	wayLooks = 2
	// wayPatience is how long it waits for the next of them to go.
	wayPatience = 10 * time.Second
)

// looks tell who waits when the house keeper has looked at the limits. The zero
// value is ready to use. Safe for concurrent use.
type looks struct {
	mu   sync.Mutex
	next chan struct{} // closed when the look that has not begun yet ends; nil = nobody waits
}

// begin begins a look, and returns what ends it.
func (l *looks) begin() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := l.next
	l.next = nil
	return func() {
		if ended != nil {
			close(ended)
		}
	}
}

// after returns what is closed when a look that has not begun yet ends.
func (l *looks) after() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = make(chan struct{})
	}
	return l.next
}

// makeWay waits until a verified blob fits into the limits. Whoever reads it has
// all of it already. It returns ErrNoSpace if what is there cannot go.
func (s *Store) makeWay(p *Part, size int64) error {
	if s.recordedAs(p.id, size) {
		return nil
	}
	return s.await(func() error {
		if s.claim(p, size) {
			return nil
		}
		return ErrNoSpace
	})
}

// claim asks for room within the limits for a verified part.
func (s *Store) claim(p *Part, size int64) (granted bool) {
	l := s.limits.Load()
	return s.usage.Claim(&p.claim, p.origin, size, l.MaxSize, l.Upstreams[oci.UpstreamName(p.origin)])
}

// await waits, while blobs are evicted, until there is room. It returns the last
// error of room if what is there cannot go.
func (s *Store) await(room func() error) error {
	err := room()
	if err == nil || s.quiet {
		return err // of a quiet store nothing is evicted
	}
	p := patience{s: s, late: time.NewTimer(s.way), progress: s.usage.progress.Load()}
	defer p.late.Stop()
	for futile := 0; err != nil && futile < wayLooks; err = room() {
		evicted := s.usage.evictedBlobs.Load()
		if given := p.awaitLook(); given != nil {
			return fmt.Errorf("%w: %w", given, err)
		}
		// What others have been granted can be evicted once it is stored.
		if futile++; s.usage.evictedBlobs.Load() != evicted || s.usage.Granting() {
			futile = 0
		}
	}
	if err != nil {
		return fmt.Errorf("too little could be evicted: %w", err)
	}
	return nil
}

// patience is that of one who waits for blobs to go: it ends when none has gone for
// some time, however long all of them take.
type patience struct {
	s        *Store
	late     *time.Timer
	progress int64
}

// awaitLook waits for a look at the limits.
func (p *patience) awaitLook() error {
	s := p.s
	ended := s.looks.after()
	s.keepHouseNow()
	for {
		select {
		case <-ended:
			return nil
		case <-p.late.C:
			now := s.usage.progress.Load()
			if now == p.progress {
				return fmt.Errorf("nothing was evicted within %v", s.way)
			}
			p.progress = now
			p.late.Reset(s.way)
		case <-s.life.Context().Done():
			return ErrClosed
		}
	}
}
