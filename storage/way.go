package storage

import (
	"fmt"
	"sync"
	"time"
)

const (
	// wayLooks is how many looks at the limits that change nothing a finished blob
	// waits for: what is used while one is under way may be left to the next.
	wayLooks = 2
	// wayPatience bounds the wait.
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
	if p.fits(size) {
		return nil
	}
	return s.await(func() error {
		if s.usage.claim(s.limits.Load(), p, size) {
			return nil
		}
		return ErrNoSpace
	})
}

// await waits, while blobs are evicted, until there is room. It returns the last
// error of room if what is there cannot go.
func (s *Store) await(room func() error) error {
	var patience <-chan time.Time
	for futile := 0; ; {
		err := room()
		if err == nil || s.quiet {
			return err // of a quiet store nothing is evicted
		}
		if futile == wayLooks {
			return fmt.Errorf("too little could be evicted: %w", err)
		}
		if patience == nil {
			timer := time.NewTimer(wayPatience)
			defer timer.Stop()
			patience = timer.C
		}
		evicted, ended := s.usage.evictedBlobs.Load(), s.looks.after()
		s.keepHouseNow()
		select {
		case <-ended:
		case <-patience:
			return fmt.Errorf("nothing was evicted within %v: %w", wayPatience, err)
		case <-s.life.Done():
			return ErrClosed
		}
		// What others have been granted can be evicted once it is stored.
		if futile++; s.usage.evictedBlobs.Load() != evicted || s.usage.granting() {
			futile = 0
		}
	}
}
