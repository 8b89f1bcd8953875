package pace

import "time"

const (
	// worthwhileLead is how long what clients wait for must take yet, for others to
	// stand back.
	worthwhileLead = time.Second
	// clearLooks are how many looks it takes until what was under way for the others
	// is out of the way, and enough is the part of all that came before which the
	// awaited have to bring alone by then.
	clearLooks = 10
	enough     = 0.75
	// burstLooks are how many looks it takes, as the others go on, until what has
	// waited for them is taken.
	burstLooks = 2
)

// priority has what no client waits for stand back for what one waits for, while more
// connections to an upstream bring no more: all of them share what the line can carry
// then. That is blobs which are pulled ahead, and of others, segments that are ahead
// of their readers. Where each connection has a limit of its own, standing back would
// help nobody.
type priority struct {
	share    share
	goOn     chan struct{} // closed at the end; nil = none is to stand back
	until    time.Time     // the end at the latest; then, when to begin at the earliest
	standing int           // connections that stand back
	looks    int           // since the beginning, or since they went on
	total    float64       // bytes per second before that
	fewer    int           // connections before they went on
}

// share is who brought what since the look began.
type share struct {
	awaited, ahead int64
	left           int64 // the most that a connection of the awaited has yet to bring
}

func (p *priority) note(r Receipt) {
	if r.Awaited {
		p.share.awaited += r.Bytes
		p.share.left = max(p.share.left, r.Left)
	} else {
		p.share.ahead += r.Bytes
	}
}

// prioritise decides after a look, which has shown that the last connections were of
// no use, or not.
func (w *uplink) prioritise(now time.Time, useless bool) {
	p, s := &w.priority, w.share
	p.looks++
	if p.fewer > 0 && p.looks >= burstLooks {
		// Those who went on are as good as new ones.
		useless = useless || w.rate < p.total*needed(w.active(), p.fewer)
		p.fewer = 0
	}
	switch {
	case p.goOn == nil:
		if !useless || s.ahead == 0 || now.Before(p.until) {
			return
		}
		// Where nobody waits for anything, there is nothing left either.
		if each := w.rate / float64(w.active()); float64(s.left) < each*worthwhileLead.Seconds() {
			return
		}
		p.goOn, p.until, p.looks, p.total, p.fewer = make(chan struct{}), now.Add(restTime), 0, w.rate, 0
	case s.awaited == 0:
		w.end(now)
	case p.looks >= clearLooks && w.rate < enough*p.total:
		w.end(now.Add(restTime)) // it was no limit of all, or is none any more
	}
}

// needed is how many times as fast more connections have to be as fewer were.
func needed(more, fewer int) float64 {
	return 1 + gain*(float64(more)/float64(fewer)-1)
}

// expire ends the standing back after a while: no upstream likes connections that
// take nothing, and what the line carries changes.
func (w *uplink) expire(now time.Time) {
	if w.goOn != nil && !now.Before(w.until) {
		fewer := w.active()
		w.end(now)
		w.looks, w.total, w.fewer = 0, w.rate, fewer
		w.measure(now)
	}
}

// end ends the standing back, and says when another may begin.
func (p *priority) end(again time.Time) {
	close(p.goOn)
	p.goOn, p.until = nil, again
}

// Stand counts a connection that stands back, by 1, and one that goes on, by -1.
func (u *Uplinks) Stand(upstream string, by int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.byUpstream[upstream].standing += by
}

// Look is for those who stand back, in case that nobody else looks.
func (u *Uplinks) Look(upstream string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.byUpstream[upstream].look(now)
}
