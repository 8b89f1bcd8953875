package upstream

import (
	"sync"
	"time"
)

// retries is a budget: in each window, one retry for every ten operations, and a
// few in any case, so that an operation that is alone can be tried again. A burst
// of 5xx is a registry that has too much to do already. The zero value is full.
// Safe for concurrent use.
type retries struct {
	mu     sync.Mutex
	window time.Time // when it began
	asked  int
	spent  int
}

const (
	retryWindow = 10 * time.Second
	freeRetries = 5
)

// ask counts an operation.
func (r *retries) ask(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	r.asked++
}

// spend reports whether an operation may be tried once more, and counts that.
func (r *retries) spend(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(now)
	if r.spent >= max(freeRetries, r.asked/10) {
		return false
	}
	r.spent++
	return true
}

func (r *retries) turn(now time.Time) {
	if age := now.Sub(r.window); age < 0 || age >= retryWindow {
		r.window, r.asked, r.spent = now, 0, 0
	}
}
