package account

import (
	"context"
	"sync"
	"time"
)

// Queue has tasks wait for their turn, each of them once. Safe for concurrent use.
type Queue[Task comparable] struct {
	turns chan Task

	mu      sync.Mutex
	waiting map[Task]time.Time // since when
	running map[*time.Time]struct{}
}

// NewQueue returns a Queue in which so many tasks may wait.
func NewQueue[Task comparable](most int) *Queue[Task] {
	return &Queue[Task]{turns: make(chan Task, most), waiting: map[Task]time.Time{}, running: map[*time.Time]struct{}{}}
}

// Add has tasks wait that do not yet. It reports false if there was no room for one.
func (q *Queue[Task]) Add(tasks ...Task) (all bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all = true
	for _, t := range tasks {
		if _, ok := q.waiting[t]; ok {
			continue
		}
		select {
		case q.turns <- t:
			q.waiting[t] = time.Now()
		default:
			all = false
		}
	}
	return all
}

// Next returns the next task once there is one, and what ends it. From now on, the same
// task can be added: it is another one. ok is false once ctx has ended.
func (q *Queue[Task]) Next(ctx context.Context) (next Task, end func(), ok bool) {
	select {
	case next = <-q.turns:
	case <-ctx.Done():
		return next, nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	since := q.waiting[next]
	delete(q.waiting, next)
	q.running[&since] = struct{}{}
	return next, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.running, &since)
	}, true
}

// Backlog returns how many tasks have not ended, and since when the oldest waits.
func (q *Queue[Task]) Backlog() (n int, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	note := func(since time.Time) {
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	for since := range q.running {
		note(*since)
	}
	for _, since := range q.waiting {
		note(since)
	}
	return len(q.running) + len(q.waiting), oldest
}
