package pace

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

// ErrYielded is why a GET ends that made room for one that a client waits for.
var ErrYielded = errors.New("the connection is given to what a client waits for")

// Crowds bound how many GETs of blobs are in flight at an upstream that refuses them
// beyond some number. Which number that is nobody tells. So there is no bound at
// first; each refusal halves what is in flight, but to no less than what the upstream
// serves meanwhile, and each while without one adds one. What no client waits for
// makes room for what one waits for. The zero value is ready. Safe for concurrent use.
type Crowds struct {
	mu         sync.Mutex
	byUpstream map[string]*crowd
}

type crowd struct {
	flying  []*Visit
	waiting []*Visit
	held    int       // places that are kept for what clients wait for and that pauses
	limit   int       // 0 = not known to be any
	epoch   int       // counts the halvings
	changed time.Time // of the limit, the last time
	// last is the visit that has ended last, of those that the upstream served or that
	// we have cut off, and when that was.
	last    *Visit
	lastEnd time.Time
}

// Party are the visits of one fill. It is guarded by the Crowds that it is in.
type Party struct{ clients int }

// NewParty returns a party that so many clients wait for.
func NewParty(clients int) *Party { return &Party{clients} }

// Visit is one GET of a blob: it waits, or is in flight until it leaves.
type Visit struct {
	Scope oci.Scope
	Party *Party
	Extra bool // for speed alone: nobody ever waits for it
	Held  bool // a place is held for it until it enters

	served bool // the upstream sends what was asked for
	cut    bool // we have ended it, not the upstream
	epoch  int
	turn   chan struct{} // closed when it is in flight
	yield  context.CancelCauseFunc
}

func (v *Visit) needed() bool { return v.Party.clients > 0 && !v.Extra }

func (c *Crowds) at(upstream string) *crowd {
	if c.byUpstream == nil {
		c.byUpstream = map[string]*crowd{}
	}
	w := c.byUpstream[upstream]
	if w == nil {
		w = new(crowd)
		c.byUpstream[upstream] = w
	}
	return w
}

// Enter makes a GET one of those that are in flight, or in line for that: it may be
// sent once turn is closed. An extra one is not put in line: it gets no turn, which is
// nil. The others call Leave. yield is called when the visit has left to make room.
func (c *Crowds) Enter(v *Visit, yield context.CancelCauseFunc, now time.Time) (turn <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.at(v.Scope.Upstream)
	if len(w.flying) == 0 && now.Sub(w.changed) > forgetCrowd {
		w.limit = 0
	}
	if v.Extra && !w.takes(v) {
		return nil
	}
	if v.Held {
		w.held--
	}
	v.turn, v.yield = make(chan struct{}), yield
	w.waiting = append(w.waiting, v)
	w.admit(now)
	return v.turn
}

// full reports whether no more may be in flight.
func (w *crowd) full() bool { return w.limit > 0 && len(w.flying) >= w.limit }

// takes reports whether a visit may be in flight, too.
func (w *crowd) takes(v *Visit) bool {
	return !w.full() && (v.needed() || w.limit == 0 || len(w.flying)+w.held < w.limit)
}

// admit lets those in line go, the needed ones first.
func (w *crowd) admit(now time.Time) {
	for len(w.waiting) > 0 {
		next := max(0, slices.IndexFunc(w.waiting, (*Visit).needed))
		v := w.waiting[next]
		if !w.takes(v) {
			spare := slices.IndexFunc(w.flying, func(o *Visit) bool { return !o.needed() })
			if !v.needed() || spare < 0 {
				return
			}
			w.flying[spare].cut = true
			w.flying[spare].yield(ErrYielded)
			w.drop(w.flying[spare], now)
		}
		w.waiting = slices.Delete(w.waiting, next, next+1)
		w.flying = append(w.flying, v)
		v.epoch = w.epoch
		close(v.turn)
	}
}

// drop takes a visit out, wherever it is.
func (w *crowd) drop(v *Visit, now time.Time) {
	w.waiting = slices.DeleteFunc(w.waiting, func(o *Visit) bool { return o == v })
	if i := slices.Index(w.flying, v); i >= 0 {
		w.flying = slices.Delete(w.flying, i, i+1)
		if v.served || v.cut {
			w.last, w.lastEnd = v, now
		}
	}
}

// Leave ends a visit; cut says that it is not the upstream that has. Later calls do
// nothing.
func (c *Crowds) Leave(v *Visit, cut bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.cut = v.cut || cut
	if w := c.byUpstream[v.Scope.Upstream]; w != nil {
		w.drop(v, now)
		w.admit(now)
	}
}

// Serve notes that the upstream serves a visit.
func (c *Crowds) Serve(v *Visit, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.served = true
	if w := c.byUpstream[v.Scope.Upstream]; w != nil {
		w.grow(now)
	}
}

// grow adds one to the limit where that is reached and has been good for a while.
func (w *crowd) grow(now time.Time) {
	if !w.full() || oci.Within(now.Sub(w.changed), growAfter) ||
		slices.ContainsFunc(w.flying, func(v *Visit) bool { return !v.served }) {
		return
	}
	w.changed = now
	if w.limit++; w.limit >= noCrowd {
		w.limit = 0
	}
	w.admit(now)
}

// Look is for those in line, in case that nothing else happens.
func (c *Crowds) Look(upstream string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.byUpstream[upstream]; w != nil {
		w.grow(now)
	}
}

// Refuse ends a visit that the upstream has refused, and reports whether that is due
// to the others: they are in flight, or have just been. A denial may be due to them
// only where the upstream serves the repository: known says that it does so far as is
// known here.
func (c *Crowds) Refuse(v *Visit, denied, known bool, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.byUpstream[v.Scope.Upstream]
	if w == nil {
		return false
	}
	w.drop(v, now)
	defer w.admit(now)
	others, served, same := len(w.flying), 0, false
	for _, o := range w.flying {
		if o.served {
			served++
			same = same || o.Scope == v.Scope
		}
	}
	if o := w.last; o.lingers(now.Sub(w.lastEnd), v) {
		others++
		same = same || o.Scope == v.Scope
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
func (v *Visit) lingers(ago time.Duration, other *Visit) bool {
	switch {
	case v == nil:
		return false
	case v.cut:
		return oci.Within(ago, lingering)
	}
	return v.Party != other.Party && oci.Within(ago, settling)
}

// Join counts a client of a party in, by 1, or out, by -1.
func (c *Crowds) Join(upstream string, p *Party, by int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.clients += by
	// The first one has come, or the last one has gone.
	if w := c.byUpstream[upstream]; w != nil && (p.clients == by || p.clients == 0) {
		w.admit(now)
	}
}

// Free reports whether an upstream may be asked for one more.
func (c *Crowds) Free(upstream string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.byUpstream[upstream]
	return w == nil || w.limit == 0 || len(w.flying)+w.held < w.limit
}

// Hold keeps a place for what a client waits for, while that pauses after a refusal:
// until it enters as one whose place is held, or until Unhold.
func (c *Crowds) Hold(upstream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(upstream).held++
}

// Unhold gives a place back that was held.
func (c *Crowds) Unhold(upstream string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.at(upstream)
	w.held--
	w.admit(now)
}
