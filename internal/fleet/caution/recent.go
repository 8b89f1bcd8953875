package fleet

import (
	"sync"
	"time"
)

// maxRecent bounds what is remembered; any of it leaves for what is new.
const maxRecent = 1 << 14

// recent remembers keys for a while. The zero value is empty. Safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (r *recent) add(key string, lasting time.Duration) {
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

func (r *recent) has(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.until[key]
	if ok && !time.Now().Before(until) {
		delete(r.until, key)
		ok = false
	}
	return ok
}

// drop forgets a key, and reports whether it was remembered.
func (r *recent) drop(key string) bool {
	had := r.has(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, key)
	return had
}
