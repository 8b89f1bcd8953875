package life

import (
	"time"
)

const (
	// RestFirst is how long a task rests that has panicked, and restMost how long
	// one that goes on panicking does.
	RestFirst = time.Second
	restMost  = 10 * time.Minute
)

// Chores are what the house keeper does again and again. One that panics is done
// again after a rest, which grows while it goes on panicking, and keeps none of
// the others from being done. They belong to the house keeper.
type Chores struct {
	life    *Life
	resting map[string]*rest
	over    *time.Timer // when the next rest is over
}

// rest is that of a chore that has panicked.
type rest struct {
	chore func()
	last  time.Duration
	until time.Time
}

// Chores returns chores of which none rests.
func (l *Life) Chores() *Chores {
	c := &Chores{life: l, resting: map[string]*rest{}, over: time.NewTimer(time.Hour)}
	c.over.Stop()
	return c
}

// Do does a chore, unless that rests: it is done anyway when the rest is over.
func (c *Chores) Do(task string, chore func()) {
	r := c.resting[task]
	if r != nil && time.Now().Before(r.until) {
		return
	}
	if c.life.Survives(task, chore) {
		delete(c.resting, task)
		return
	}
	if r == nil {
		r = &rest{last: c.life.rest / 2}
		c.resting[task] = r
	}
	r.chore, r.last = chore, min(2*r.last, restMost)
	r.until = time.Now().Add(r.last)
	c.arm()
}

// Again does the chores of which the rest is over.
func (c *Chores) Again() {
	for task, r := range c.resting {
		c.Do(task, r.chore)
	}
	c.arm()
}

func (c *Chores) arm() {
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

// Over tells when Again has something to do.
func (c *Chores) Over() <-chan time.Time { return c.over.C }

// End ends the waiting.
func (c *Chores) End() { c.over.Stop() }
