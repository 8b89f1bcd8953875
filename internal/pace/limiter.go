package pace

import (
	"context"
	"slices"
	"sync"
)

// Limiter bounds how many of each kind are at work at a time, such as the fills of one
// upstream, or the look-ups of one client. Who finds no place free waits in the queue
// of that kind, so that none can take the places of another. The zero value is ready.
// Safe for concurrent use.
type Limiter[K comparable] struct {
	mu    sync.Mutex
	lanes map[K]*lane // while in use
}

type lane struct {
	used  int
	queue []waiter
}

// waiter is who waits for one of limit places.
type waiter struct {
	limit int
	turn  chan struct{} // closed when a place is handed over
}

// Enter waits for one of limit places; 0 = there is no limit. Who gets no error calls
// Leave.
func (l *Limiter[K]) Enter(ctx context.Context, kind K, limit int) error {
	l.mu.Lock()
	if l.take(kind, limit, 0) {
		l.mu.Unlock()
		return nil
	}
	lane := l.lanes[kind]
	turn := make(chan struct{})
	lane.queue = append(lane.queue, waiter{limit, turn})
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.IndexFunc(lane.queue, func(w waiter) bool { return w.turn == turn })
	if i >= 0 {
		lane.queue = slices.Delete(lane.queue, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		l.Leave(kind) // it was handed over at the same moment
	}
	return ctx.Err()
}

// TryEnter takes a place if one is free at once, and so many others are, too.
func (l *Limiter[K]) TryEnter(kind K, limit, others int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(kind, limit, others)
}

// take takes a place where so many others are free, too; l.mu is held. While nobody is
// at work, there is one.
func (l *Limiter[K]) take(kind K, limit, others int) bool {
	at := l.lanes[kind]
	used := 0
	if at != nil {
		used = at.used
	}
	if limit > 0 && used+others >= limit {
		return false
	}
	if at == nil {
		if l.lanes == nil {
			l.lanes = map[K]*lane{}
		}
		at = new(lane)
		l.lanes[kind] = at
	}
	at.used++
	return true
}

// Leave hands the place over to who has waited longest, unless more are at work than that
// one's limit: whoever has none may have come meanwhile.
func (l *Limiter[K]) Leave(kind K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.lanes[kind]
	lane.used--
	if len(lane.queue) > 0 && lane.used < lane.queue[0].limit {
		lane.used++
		close(lane.queue[0].turn)
		lane.queue = lane.queue[1:]
		return
	}
	if lane.used == 0 {
		delete(l.lanes, kind)
	}
}

// Count counts who has a place, and who waits for one.
func (l *Limiter[K]) Count() (used, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.lanes {
		used += lane.used
		waiting += len(lane.queue)
	}
	return used, waiting
}
