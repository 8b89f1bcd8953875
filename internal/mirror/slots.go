package mirror

import (
	"context"
	"slices"
	"sync"
)

// slots bound how many fills of one upstream run at a time. Who finds none free
// waits in a queue of that upstream, so that no upstream can take the slots of
// another. The zero value is ready. Safe for concurrent use.
type slots struct {
	mu    sync.Mutex
	lanes map[string]*lane // by upstream, while in use
}

type lane struct {
	used  int
	queue []chan struct{} // closed when a slot is handed over
}

// enter waits for one of limit slots; 0 = there is no limit. Who gets no error
// calls leave.
func (s *slots) enter(ctx context.Context, upstream string, limit int) error {
	s.mu.Lock()
	if s.lanes == nil {
		s.lanes = map[string]*lane{}
	}
	l := s.lanes[upstream]
	if l == nil {
		l = new(lane)
		s.lanes[upstream] = l
	}
	if limit <= 0 || l.used < limit {
		l.used++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.queue = append(l.queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(l.queue, turn)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		s.leave(upstream) // it was handed over at the same moment
	}
	return ctx.Err()
}

// leave hands the slot over to who has waited longest.
func (s *slots) leave(upstream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[upstream]
	if len(l.queue) > 0 {
		close(l.queue[0])
		l.queue = l.queue[1:]
		return
	}
	if l.used--; l.used == 0 {
		delete(s.lanes, upstream)
	}
}

// waiting counts who is in a queue.
func (s *slots) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		n += len(l.queue)
	}
	return n
}
