package account

import (
	"slices"
	"sync"
	"time"
)

// lastDelays is of how many answers it is known how long they took.
const lastDelays = 256

// Delays are how long the last answers took. The zero value has none. Safe for concurrent
// use.
type Delays struct {
	mu   sync.Mutex
	last []time.Duration
	next int
}

// Add adds one.
func (d *Delays) Add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.last) < lastDelays {
		d.last = append(d.last, took)
		return
	}
	d.last[d.next] = took
	d.next = (d.next + 1) % lastDelays
}

// Quantiles returns what half of them, and 95 of 100, did not exceed; zero = there are none.
func (d *Delays) Quantiles() (median, slow time.Duration) {
	d.mu.Lock()
	sorted := slices.Clone(d.last)
	d.mu.Unlock()
	if len(sorted) == 0 {
		return 0, 0
	}
	slices.Sort(sorted)
	return sorted[(len(sorted)-1)/2], sorted[(len(sorted)-1)*95/100]
}
