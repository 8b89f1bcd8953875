package mirror

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// lingering is how long a GET that we have cut off may still count at the upstream,
	// which notices the end of a connection in its own time; settling, one that it has
	// ended itself.
	lingering = 5 * time.Second
	settling  = 250 * time.Millisecond
	// growAfter is how long the GETs of a crowd get on well until it may grow by one.
	growAfter = 10 * time.Second
	// forgetCrowd is how long a limit is remembered of an upstream that nobody asks.
	forgetCrowd = 10 * time.Minute
	// noCrowd is where a limit that has grown is none any more.
	noCrowd = 64
)

// errYielded is why a GET ends that made room for one that a client waits for.
var errYielded = errors.New("the connection is given to what a client waits for")

// crowds bound how many GETs of blobs are in flight at an upstream that refuses them
// beyond some number. Which number that is nobody tells. So there is no bound at
// first; each refusal halves what is in flight, but to no less than what the upstream
// serves meanwhile, and each while without one adds one. What no client waits for
// makes room for what one waits for. The zero value is ready. Safe for concurrent use.
type crowds struct {
	mu     sync.Mutex
	crowds map[string]*crowd // by upstream
}

type crowd struct {
	flying  []*visit
	waiting []*visit
	held    int       // places that are kept for what clients wait for and that pauses
	limit   int       // 0 = not known to be any
	epoch   int       // counts the halvings
	changed time.Time // of the limit, the last time
	// last is the visit that has ended last, of those that the upstream served or that
	// we have cut off, and when that was.
	last    *visit
	lastEnd time.Time
}

// party are the visits of one fill: how many clients wait for it.
type party struct{ clients int }

// visit is one GET of a blob: it waits, or is in flight until it leaves.
type visit struct {
	upstream string
	scope    oci.Scope
	party    *party
	extra    bool // for speed alone: nobody ever waits for it
	held     bool // a place is held for it until it enters
	served   bool // the upstream sends what was asked for
	cut      bool // we have ended it, not the upstream
	epoch    int
	turn     chan struct{} // closed when it is in flight
	yield    context.CancelCauseFunc
}

func (v *visit) needed() bool { return v.party.clients > 0 && !v.extra }

func (c *crowds) at(upstream string) *crowd {
	if c.crowds == nil {
		c.crowds = map[string]*crowd{}
	}
	w := c.crowds[upstream]
	if w == nil {
		w = new(crowd)
		c.crowds[upstream] = w
	}
	return w
}

// enter makes a GET one of those that are in flight, or in line for that: then its
// turn is closed later. One that is extra is not put in line, and entered is false.
// Whoever entered calls leave. yield is called when it has left to make room.
func (c *crowds) enter(v *visit, yield context.CancelCauseFunc, now time.Time) (entered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.at(v.upstream)
	if len(w.flying) == 0 && now.Sub(w.changed) > forgetCrowd {
		w.limit = 0
	}
	if v.extra && !w.room(v) {
		return false
	}
	if v.held {
		w.held--
	}
	v.turn, v.yield = make(chan struct{}), yield
	w.waiting = append(w.waiting, v)
	w.admit(now)
	return true
}

// full reports whether no more may be in flight.
func (w *crowd) full() bool { return w.limit > 0 && len(w.flying) >= w.limit }

// room reports whether a visit may be in flight, too.
func (w *crowd) room(v *visit) bool {
	return !w.full() && (v.needed() || w.limit == 0 || len(w.flying)+w.held < w.limit)
}

// admit lets those in line go, the needed ones first.
func (w *crowd) admit(now time.Time) {
	for len(w.waiting) > 0 {
		next := max(0, slices.IndexFunc(w.waiting, (*visit).needed))
		v := w.waiting[next]
		if !w.room(v) {
			spare := slices.IndexFunc(w.flying, func(o *visit) bool { return !o.needed() })
			if !v.needed() || spare < 0 {
				return
			}
			w.flying[spare].cut = true
			w.flying[spare].yield(errYielded)
			w.drop(w.flying[spare], now)
		}
		w.waiting = slices.Delete(w.waiting, next, next+1)
		w.flying = append(w.flying, v)
		v.epoch = w.epoch
		close(v.turn)
	}
}

// drop takes a visit out, wherever it is.
func (w *crowd) drop(v *visit, now time.Time) {
	w.waiting = slices.DeleteFunc(w.waiting, func(o *visit) bool { return o == v })
	if i := slices.Index(w.flying, v); i >= 0 {
		w.flying = slices.Delete(w.flying, i, i+1)
		if v.served || v.cut {
			w.last, w.lastEnd = v, now
		}
	}
}

// leave ends a visit; cut says that it is not the upstream that has. Later calls do
// nothing.
func (c *crowds) leave(v *visit, cut bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.cut = v.cut || cut
	if w := c.crowds[v.upstream]; w != nil {
		w.drop(v, now)
		w.admit(now)
	}
}

// serve notes that the upstream serves a visit.
func (c *crowds) serve(v *visit, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.served = true
	if w := c.crowds[v.upstream]; w != nil {
		w.grow(now)
	}
}

// grow adds one to the limit where that is reached and has been good for a while.
func (w *crowd) grow(now time.Time) {
	if !w.full() || within(now.Sub(w.changed), growAfter) ||
		slices.ContainsFunc(w.flying, func(v *visit) bool { return !v.served }) {
		return
	}
	w.changed = now
	if w.limit++; w.limit >= noCrowd {
		w.limit = 0
	}
	w.admit(now)
}

// look is for those in line, in case that nothing else happens.
func (c *crowds) look(upstream string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.crowds[upstream]; w != nil {
		w.grow(now)
	}
}

// refuse ends a visit that the upstream has refused, and reports whether that is due
// to the others: they are in flight, or have just been. A denial may be due to them
// only where the upstream serves the repository: known says that it does so far as is
// known here.
func (c *crowds) refuse(v *visit, denied, known bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.crowds[v.upstream]
	if w == nil {
		return false
	}
	w.drop(v, now)
	defer w.admit(now)
	others, served, same := len(w.flying), 0, false
	for _, o := range w.flying {
		if o.served {
			served++
			same = same || o.scope == v.scope
		}
	}
	if o := w.last; o.lingers(now.Sub(w.lastEnd), v) {
		others++
		same = same || o.scope == v.scope
	}
	if others == 0 || denied && !same && !known {
		return false
	}
	if v.epoch == w.epoch { // else it was sent before the last halving
		w.epoch++
		w.changed = now
		w.limit = max(1, served, (len(w.flying)+1)/2)
	}
	return true
}

// lingers reports whether a visit that has ended so long ago may be what another one
// was refused for.
func (v *visit) lingers(ago time.Duration, other *visit) bool {
	switch {
	case v == nil:
		return false
	case v.cut:
		return within(ago, lingering)
	}
	return v.party != other.party && within(ago, settling)
}

// join counts a client of a party in, by 1, or out, by -1.
func (c *crowds) join(upstream string, p *party, by int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.clients += by
	if w := c.crowds[upstream]; w != nil && by > 0 && p.clients == by {
		w.admit(now)
	}
}

// free reports whether an upstream may be asked for one more.
func (c *crowds) free(upstream string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.crowds[upstream]
	return w == nil || w.limit == 0 || len(w.flying)+w.held < w.limit
}

// hold keeps a place for what a client waits for, while that pauses after a refusal:
// until it enters as one whose place is held, or until letGo.
func (c *crowds) hold(upstream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(upstream).held++
}

func (c *crowds) letGo(upstream string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.at(upstream)
	w.held--
	w.admit(now)
}
