package pace

import (
	"sync"
	"time"
)

const (
	// LookEvery is how long the speed of an upstream is measured before it is
	// decided whether more connections would help.
	LookEvery = 100 * time.Millisecond
	// idleShare is the part of its time that a connection that is itself the limit
	// is waited for. Where it is less, it is we who are slow; and what lies in our
	// buffers when a GET is cut at another's start comes twice.
	idleShare = 0.75
	// mostQueued is how many bytes lie unread in a connection's socket, on average,
	// at most, where it is itself the limit. On a busy machine the wait alone does
	// not tell: it is for the processor.
	mostQueued = 512 << 10
	// gain is the part of what more connections could bring that they have to.
	gain = 0.5
	// restTime is how long none is added after some that did not help, or after it was
	// we who were slow.
	restTime = 5 * time.Second
	// worthwhile is how long a claim must take yet to be shared.
	worthwhile = 300 * time.Millisecond
	// minSplit is the least that a segment is split off with, and leaves.
	minSplit = 4 << 20
	// maxConnections are the GETs of blobs that run at one upstream at a time. The
	// first one of each fill is never refused, further ones are.
	maxConnections = 16
)

// Uplinks are the connections to the upstreams: how many GETs of blobs run at each, and
// whether more of them would make it faster. They would where the upstream, or the
// line to it, limits each connection. The zero value is ready. Safe for concurrent
// use.
type Uplinks struct {
	mu         sync.Mutex
	byUpstream map[string]*uplink // while in use
}

type uplink struct {
	priority
	used                 int
	silent               int // of these, no byte has come yet
	bytes                int64
	rate                 float64 // bytes per second that the last look saw
	before               int     // connections that it saw
	added                bool    // some, at the last look
	credits              int     // connections that may be added
	began                time.Time
	from                 int64         // bytes when the look began
	waited               time.Duration // of all connections, since the look began
	queued               float64       // sum of bytes × how many lay unread behind them, since then
	localBottleneckUntil time.Time     // until then, we count as the slow ones
	rest                 time.Time     // none is added before
}

// Begin counts a connection in.
func (u *Uplinks) Begin(upstream string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byUpstream == nil {
		u.byUpstream = map[string]*uplink{}
	}
	w := u.byUpstream[upstream]
	if w == nil {
		w = new(uplink)
		u.byUpstream[upstream] = w
	}
	w.used++
	w.silent++
}

// End counts one out, which has brought bytes or none.
func (u *Uplinks) End(upstream string, silent bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.byUpstream[upstream]
	if silent {
		w.silent--
	}
	if w.used--; w.used == 0 {
		delete(u.byUpstream, upstream)
	}
}

// Receipt tells of bytes that came in over a connection.
type Receipt struct {
	Bytes  int64
	Waited time.Duration // for them
	Queued int64         // bytes that lay unread behind them
	First  bool          // of the connection
	// Awaited says that a client waits for what comes next.
	Awaited bool
	Left    int64 // that each connection of the blob has yet to bring
}

// Advice is what follows from what is known of an upstream.
type Advice struct {
	Each    float64         // bytes per second of one connection; 0 = not known
	More    bool            // a connection may be added
	GoOn    <-chan struct{} // closed when the connection may go on; nil = at once
	Crowded bool            // something stands back, or we are the limit
}

// WorthSplitting reports whether it is worth another connection to share what one has
// yet to bring, at so many bytes per second.
func WorthSplitting(left int64, each float64) bool {
	return each > 0 && left >= 2*minSplit && float64(left)/each >= worthwhile.Seconds()
}

// Received notes a receipt, and returns what follows.
func (u *Uplinks) Received(upstream string, r Receipt, now time.Time) (a Advice) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.byUpstream[upstream]
	w.bytes += r.Bytes
	w.waited += r.Waited
	w.queued += float64(r.Bytes) * float64(r.Queued)
	if r.First {
		w.silent--
	}
	w.note(r)
	w.look(now)
	if active := w.active(); active > 0 {
		a.Each = w.rate / float64(active)
	}
	a.More, a.Crowded = w.credits > 0, w.goOn != nil || now.Before(w.localBottleneckUntil)
	if !r.Awaited {
		a.GoOn = w.goOn
	}
	return a
}

// active counts the connections that do not stand back.
func (w *uplink) active() int { return w.used - w.standing }

// look measures, and decides how many connections may be added: half as many as
// there are.
func (w *uplink) look(now time.Time) {
	w.expire(now)
	if w.began.IsZero() || w.silent > 0 {
		// What is measured would not be what all of them can do.
		w.measure(now)
		return
	}
	elapsed := now.Sub(w.began)
	if elapsed < LookEvery {
		return
	}
	slower, fewer := w.rate, w.before
	w.rate, w.before = float64(w.bytes-w.from)/elapsed.Seconds(), w.active()
	idle := w.waited.Seconds() / (elapsed.Seconds() * float64(max(w.before, 1)))
	useless := w.added && w.before > fewer && w.rate < slower*needed(w.before, fewer)
	if useless {
		w.rest = now.Add(restTime)
	}
	w.credits, w.added = 0, false
	w.prioritise(now, useless)
	if w.queued > mostQueued*float64(w.bytes-w.from) {
		w.localBottleneckUntil = now.Add(restTime)
	}
	if idle >= idleShare && w.goOn == nil && !now.Before(w.rest) && !now.Before(w.localBottleneckUntil) {
		w.credits = max(0, min((w.used+1)/2, maxConnections-w.used))
	}
	w.measure(now)
}

// measure begins a look.
func (w *uplink) measure(now time.Time) {
	w.began, w.from, w.waited, w.queued = now, w.bytes, 0, 0
	w.share = share{}
}

// Take takes the leave to add a connection.
func (u *Uplinks) Take(upstream string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.byUpstream[upstream]
	if w == nil || w.credits == 0 {
		return false
	}
	w.credits--
	w.added = true
	return true
}

// Enough says that the upstream has refused one more.
func (u *Uplinks) Enough(upstream string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w := u.byUpstream[upstream]; w != nil {
		w.credits, w.rest = 0, now.Add(restTime)
	}
}
