package eviction

import (
	"fmt"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/life"
)

const (
	// futilePasses is how many passes that change nothing a finished blob
	// waits for: what is used while one is under way may be left to the next.
	futilePasses = 2
	// RoomPatience is how long it waits for the next of them to go.
	RoomPatience = 10 * time.Second
)

// Queue is who waits until blobs were evicted. Safe for concurrent use.
type Queue struct {
	life     *life.Life
	limits   *Budget
	remover  *Remover
	patience time.Duration
	quiet    bool // nothing is evicted

	mu   sync.Mutex
	next chan struct{} // closed when the pass that has not begun yet ends; nil = nobody waits
}

// NewQueue returns a queue that nobody is in: who is, waits for as long as patience for
// the next blob to go, and if the store is quiet for nothing.
func NewQueue(l *life.Life, limits *Budget, r *Remover, patience time.Duration, quiet bool) *Queue {
	return &Queue{life: l, limits: limits, remover: r, patience: patience, quiet: quiet}
}

// begin begins a pass, and returns what ends it.
func (q *Queue) begin() (end func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ended := q.next
	q.next = nil
	return func() {
		if ended != nil {
			close(ended)
		}
	}
}

// After returns what is closed when a pass that has not begun yet ends.
func (q *Queue) After() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.next = make(chan struct{})
	}
	return q.next
}

// Await waits, while blobs are evicted, until there is room. It returns the last
// error of room if what is there cannot go.
func (q *Queue) Await(room func() error) error {
	err := room()
	if err == nil || q.quiet {
		return err
	}
	w := waiter{Queue: q, late: time.NewTimer(q.patience), progress: q.remover.steps.Load()}
	defer w.late.Stop()
	for futile := 0; err != nil && futile < futilePasses; err = room() {
		evicted := q.remover.Blobs.Load()
		if given := w.awaitPass(); given != nil {
			return fmt.Errorf("%w: %w", given, err)
		}
		// What others have been granted can be evicted once it is stored.
		if futile++; q.remover.Blobs.Load() != evicted || q.limits.ledger.Granting() {
			futile = 0
		}
	}
	if err != nil {
		return fmt.Errorf("too little could be evicted: %w", err)
	}
	return nil
}

// waiter is one who waits for blobs to go: until none has gone for some time, however
// long all of them take.
type waiter struct {
	*Queue

	late     *time.Timer
	progress int64
}

// awaitPass waits for a pass.
func (w *waiter) awaitPass() error {
	ended := w.After()
	w.limits.Soon()
	for {
		select {
		case <-ended:
			return nil
		case <-w.late.C:
			now := w.remover.steps.Load()
			if now == w.progress {
				return fmt.Errorf("nothing was evicted within %v", w.patience)
			}
			w.progress = now
			w.late.Reset(w.patience)
		case <-w.life.Context().Done():
			return life.ErrClosed
		}
	}
}
