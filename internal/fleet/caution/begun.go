package caution

import (
	"sync"
	"time"
)

// Begun is what is under way, and since when: something else may come meanwhile. The zero
// value has none. Safe for concurrent use.
type Begun[K comparable] struct {
	mu    sync.Mutex
	since map[K]time.Time
}

// maxBegun bounds what is remembered; any of it leaves for what is new.
const maxBegun = 1 << 14

// Note notes that something begins, unless it has begun before.
func (b *Begun[K]) Note(key K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.since[key]; ok {
		return
	}
	if b.since == nil {
		b.since = map[K]time.Time{}
	}
	if len(b.since) >= maxBegun {
		for other := range b.since {
			delete(b.since, other)
			break
		}
	}
	b.since[key] = time.Now()
}

// End returns when something began that ends now, if that is known.
func (b *Begun[K]) End(key K) (since time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	since, ok = b.since[key]
	delete(b.since, key)
	return since, ok
}

// Before reports whether something is under way that has begun up to a time.
func (b *Begun[K]) Before(key K, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	since, ok := b.since[key]
	return ok && !since.After(at)
}
