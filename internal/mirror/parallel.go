package mirror

import (
	"sync"
	"time"
)

const (
	// paceLook is how long the speed of an upstream is measured before it is
	// decided whether more connections would help.
	paceLook = 100 * time.Millisecond
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
	// paceRest is how long none is added after some that did not help, or after it was
	// we who were slow.
	paceRest = 5 * time.Second
	// worthwhile is how long a claim must take yet to be shared.
	worthwhile = 300 * time.Millisecond
	// minSplit is the least that a segment is split off with, and leaves.
	minSplit = 4 << 20
	// maxConnections are the GETs of blobs that run at one upstream at a time. The
	// first one of each fill is never refused, further ones are.
	maxConnections = 16
)

// uplinks are the ways to the upstreams: how many GETs of blobs run on each, and
// whether more of them would make it faster. They would where the upstream, or the
// way to it, limits each connection. The zero value is ready. Safe for concurrent
// use.
type uplinks struct {
	mu   sync.Mutex
	ways map[string]*uplink // by upstream, while in use
}

type uplink struct {
	priority
	used    int
	silent  int // of these, no byte has come yet
	bytes   int64
	rate    float64 // bytes per second that the last look saw
	before  int     // connections that it saw
	added   bool    // some, at the last look
	credits int     // connections that may be added
	began   time.Time
	from    int64         // bytes when the look began
	waited  time.Duration // of all connections, since the look began
	queued  float64       // sum of bytes × how many lay unread behind them, since then
	behind  time.Time     // until then, it is taken to be we who are slow
	rest    time.Time     // none is added before
}

// begin counts a connection in.
func (u *uplinks) begin(upstream string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ways == nil {
		u.ways = map[string]*uplink{}
	}
	w := u.ways[upstream]
	if w == nil {
		w = new(uplink)
		u.ways[upstream] = w
	}
	w.used++
	w.silent++
}

// end counts one out, which has brought bytes or none.
func (u *uplinks) end(upstream string, silent bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.ways[upstream]
	if silent {
		w.silent--
	}
	if w.used--; w.used == 0 {
		delete(u.ways, upstream)
	}
}

// receipt tells of bytes that came in over a connection.
type receipt struct {
	bytes  int64
	waited time.Duration // for them
	queued int64         // bytes that lay unread behind them
	first  bool          // of the connection
	// awaited says that a client waits for what comes next.
	awaited bool
	left    int64 // that each connection of the blob has yet to bring
}

// advice is what follows from what is known of an upstream.
type advice struct {
	each    float64         // bytes per second of one connection; 0 = not known
	more    bool            // a connection may be added
	over    <-chan struct{} // closed when what no client waits for may go on; nil = at once
	crowded bool            // something stands back, or we are the limit
}

func (u *uplinks) received(upstream string, r receipt, now time.Time) (a advice) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.ways[upstream]
	w.bytes += r.bytes
	w.waited += r.waited
	w.queued += float64(r.bytes) * float64(r.queued)
	if r.first {
		w.silent--
	}
	w.note(r)
	w.look(now)
	if active := w.active(); active > 0 {
		a.each = w.rate / float64(active)
	}
	a.more, a.crowded = w.credits > 0, w.over != nil || now.Before(w.behind)
	if !r.awaited {
		a.over = w.over
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
	if elapsed < paceLook {
		return
	}
	slower, fewer := w.rate, w.before
	w.rate, w.before = float64(w.bytes-w.from)/elapsed.Seconds(), w.active()
	idle := w.waited.Seconds() / (elapsed.Seconds() * float64(max(w.before, 1)))
	useless := w.added && w.before > fewer && w.rate < slower*needed(w.before, fewer)
	if useless {
		w.rest = now.Add(paceRest)
	}
	w.credits, w.added = 0, false
	w.prioritise(now, useless)
	if w.queued > mostQueued*float64(w.bytes-w.from) {
		w.behind = now.Add(paceRest)
	}
	if idle >= idleShare && w.over == nil && !now.Before(w.rest) && !now.Before(w.behind) {
		w.credits = max(0, min((w.used+1)/2, maxConnections-w.used))
	}
	w.measure(now)
}

// measure begins a look.
func (w *uplink) measure(now time.Time) {
	w.began, w.from, w.waited, w.queued = now, w.bytes, 0, 0
	w.share = share{}
}

// take takes the leave to add a connection.
func (u *uplinks) take(upstream string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.ways[upstream]
	if w == nil || w.credits == 0 {
		return false
	}
	w.credits--
	w.added = true
	return true
}

// enough says that the upstream has refused one more.
func (u *uplinks) enough(upstream string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w := u.ways[upstream]; w != nil {
		w.credits, w.rest = 0, now.Add(paceRest)
	}
}

// quicken adds a segment if that would help; f.mu is held. each is how fast one
// connection is.
func (f *fill) quicken(each float64) {
	if len(f.segments) >= f.source.Parallel || f.sequential || f.halted() {
		return
	}
	off, ok := f.splitting(each)
	if ok && f.c.crowds.free(f.source.Identity) && f.c.uplinks.take(f.source.Identity) {
		s := f.newSegment(off)
		s.extra = true
		f.launch(s)
	}
}

// splitting returns the middle of the claim that is to take longest, if that is
// worth to be shared; f.mu is held.
func (f *fill) splitting(each float64) (off int64, ok bool) {
	if each <= 0 || f.size < 2*minSplit {
		return 0, false
	}
	var most int64
	for _, s := range f.segments {
		if left := f.limitLocked(s) - s.pos; left > most {
			most, off = left, s.pos+left/2
		}
	}
	return off, most >= 2*minSplit && float64(most)/each >= worthwhile.Seconds()
}
