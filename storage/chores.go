package storage

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// restFirst is how long a task rests that has panicked, and restMost how long
	// one that goes on panicking does.
	restFirst = time.Second
	restMost  = 10 * time.Minute
)

// survives calls fn, and reports whether that went without a panic: one in the
// background must never take the server down.
func (s *Store) survives(task string, fn func()) bool {
	err := s.guard(task, func() error { fn(); return nil })
	return err == nil
}

// guard calls fn, and makes an error of a panic.
func (s *Store) guard(task string, fn func() error) (err error) {
	defer s.recovered(task, &err)
	return fn()
}

// recovered, deferred, makes an error of a panic, and logs and counts it.
func (s *Store) recovered(task string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: panic: %v", task, p)
		s.panicked()
		s.log.Error("storage panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}

// persist calls fn until it ends without a panic, or ctx is done.
func (s *Store) persist(ctx context.Context, task string, fn func()) {
	for rest := s.rest; !s.survives(task, fn); rest = min(2*rest, restMost) {
		wait := time.NewTimer(rest)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// chores are what the house keeper does again and again. One that panics is done
// again after a rest, which grows while it goes on panicking, and keeps none of
// the others from being done. They belong to the house keeper.
type chores struct {
	s       *Store
	resting map[string]*rest
	over    *time.Timer // when the next rest is over
}

// rest is that of a chore that has panicked.
type rest struct {
	chore func()
	last  time.Duration
	until time.Time
}

func newChores(s *Store) *chores {
	c := &chores{s: s, resting: map[string]*rest{}, over: time.NewTimer(time.Hour)}
	c.over.Stop()
	return c
}

// do does a chore, unless that rests: it is done anyway when the rest is over.
func (c *chores) do(task string, chore func()) {
	r := c.resting[task]
	if r != nil && time.Now().Before(r.until) {
		return
	}
	if c.s.survives(task, chore) {
		delete(c.resting, task)
		return
	}
	if r == nil {
		r = &rest{last: c.s.rest / 2}
		c.resting[task] = r
	}
	r.chore, r.last = chore, min(2*r.last, restMost)
	r.until = time.Now().Add(r.last)
	c.arm()
}

// again does the chores of which the rest is over.
func (c *chores) again() {
	for task, r := range c.resting {
		c.do(task, r.chore)
	}
	c.arm()
}

func (c *chores) arm() {
	var next time.Time
	for _, r := range c.resting {
		if next.IsZero() || r.until.Before(next) {
			next = r.until
		}
	}
	if !next.IsZero() {
		c.over.Reset(time.Until(next))
	}
}

func (c *chores) end() { c.over.Stop() }
