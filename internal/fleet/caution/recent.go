// Package caution keeps a gateway from asking what has just failed, and from what it has
// just learned to be so.
package caution

import (
	"sync"
	"time"
)

// maxRecent bounds what is remembered; any of it leaves for what is new.
const maxRecent = 1 << 14

// Recent remembers keys for a while. The zero value is empty. Safe for concurrent use.
type Recent struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// Add remembers a key.
func (r *Recent) Add(key string, lasting time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[string]time.Time{}
	}
	if len(r.until) >= maxRecent {
		for other := range r.until {
			delete(r.until, other)
			break
		}
	}
	r.until[key] = time.Now().Add(lasting)
}

// Has reports whether a key is remembered.
func (r *Recent) Has(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.until[key]
	if ok && !time.Now().Before(until) {
		delete(r.until, key)
		ok = false
	}
	return ok
}

// Drop forgets a key, and reports whether it was remembered.
func (r *Recent) Drop(key string) bool {
	had := r.Has(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, key)
	return had
}
