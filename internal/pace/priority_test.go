package pace

import (
	"testing"
	"time"
)

const wayName = "docker.io"

// way is a model of the way to an upstream.
type way struct {
	u Uplinks
	// line is what it carries in a second, and each what a connection does at the
	// most; 0 = any.
	line, each float64
	// buffer is what comes in for a connection that nothing is taken from.
	buffer float64
	left   int64 // as in Receipt
	queued int64
	now    time.Time
	conns  []*modelConn
}

type modelConn struct {
	awaited bool
	heard   bool
	over    <-chan struct{}
	held    float64
	taken   float64
}

func (w *way) add(awaited bool, n int) {
	for range n {
		w.u.Begin(wayName)
		w.conns = append(w.conns, &modelConn{awaited: awaited})
	}
}

func (c *modelConn) stands() bool {
	select {
	case <-c.over:
		c.over = nil
	default:
	}
	return c.over != nil
}

// run lets time pass, and returns what came in meanwhile for those that a client
// waits for and for all.
func (w *way) run(d time.Duration) (awaited, all float64) {
	const step = 5 * time.Millisecond
	before := map[*modelConn]float64{}
	for _, c := range w.conns {
		before[c] = c.taken
	}
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(step)
		var open []*modelConn
		for _, c := range w.conns {
			if stood := c.over != nil; stood && !c.stands() {
				w.u.Stand(wayName, -1)
			}
			if c.over == nil || c.held < w.buffer {
				open = append(open, c)
			}
		}
		for _, c := range open {
			part := w.each * step.Seconds()
			if w.line > 0 {
				part = w.line * step.Seconds() / float64(len(open))
			}
			c.held += part
		}
		for _, c := range w.conns {
			if c.over != nil {
				w.u.Look(wayName, w.now)
				continue
			}
			r := Receipt{Bytes: int64(c.held), Waited: step, First: !c.heard, Awaited: c.awaited, Left: w.left, Queued: w.queued}
			c.taken, c.held, c.heard = c.taken+c.held, 0, true
			a := w.u.Received(wayName, r, w.now)
			if a.More && w.u.Take(wayName) {
				w.add(c.awaited, 1)
			}
			if c.over = a.GoOn; c.over != nil {
				w.u.Stand(wayName, 1)
			}
		}
	}
	for _, c := range w.conns {
		n := c.taken - before[c]
		all += n
		if c.awaited {
			awaited += n
		}
	}
	return awaited, all
}

func newWay() *way {
	return &way{now: time.Unix(1, 0), left: 1 << 40}
}

// Where all share a line, what clients wait for gets nearly all of it, whatever waits
// in buffers, and nothing of the line is lost.
func TestStandBackOnSharedLine(t *testing.T) {
	for _, buffer := range []float64{0, 3e6} {
		w := newWay()
		w.line, w.buffer = 100e6, buffer
		w.add(true, 3)
		w.add(false, 6)
		w.run(500 * time.Millisecond)
		const span = 120
		awaited, all := w.run(span * time.Second)
		if awaited < 0.8*all || all < 0.99*span*w.line {
			t.Errorf("with buffers of %.0f, those waited for get %.2f of %.2f of the line", buffer, awaited/all, all/(span*w.line))
		}
		if ahead := all - awaited; ahead < span/restTime.Seconds()*(w.line*LookEvery.Seconds()/10+buffer) {
			t.Errorf("with buffers of %.0f, those who stand back get %.0f bytes in all", buffer, ahead)
		}
	}
}

// Where each connection has a limit of its own, nobody stands back.
func TestStandBackInVain(t *testing.T) {
	w := newWay()
	w.each = 20e6
	w.add(true, 3)
	w.add(false, 3)
	for range 300 {
		w.run(100 * time.Millisecond)
		if w.u.byUpstream[wayName].standing > 0 {
			t.Fatal("somebody stands back")
		}
	}
	if n := len(w.conns); n != maxConnections {
		t.Errorf("%d connections, want all %d", n, maxConnections)
	}
}

// Nobody stands back for what is done soon, nor where nobody waits for anything, and
// who does goes on as soon as nobody waits any more, or as there is room.
func TestStandBackForNothing(t *testing.T) {
	for name, prepare := range map[string]func(w *way){
		"done soon":    func(w *way) { w.left = 1e6; w.add(true, 3); w.add(false, 3) },
		"nobody waits": func(w *way) { w.add(false, 6) },
	} {
		w := newWay()
		w.line = 100e6
		prepare(w)
		for range 100 {
			w.run(100 * time.Millisecond)
			if w.u.byUpstream[wayName].standing > 0 {
				t.Fatalf("%s: somebody stands back", name)
			}
		}
	}
	for _, test := range []struct {
		name   string
		change func(w *way)
		within time.Duration
	}{
		{"nobody waits any more", func(w *way) {
			for _, c := range w.conns {
				c.awaited = false
			}
		}, 250 * time.Millisecond},
		{"the awaited are slow", func(w *way) { w.line, w.each = 0, 1e6 }, 1500 * time.Millisecond},
	} {
		w := newWay()
		w.line = 100e6
		w.add(true, 3)
		w.add(false, 3)
		for range 6 {
			w.run(100 * time.Millisecond)
		}
		if w.u.byUpstream[wayName].standing != 3 {
			t.Fatalf("%d stand back, want 3", w.u.byUpstream[wayName].standing)
		}
		test.change(w)
		w.run(test.within)
		if w.u.byUpstream[wayName].standing > 0 {
			t.Errorf("%s: they still stand back", test.name)
		}
	}
}

// Where what comes in has to wait for us, more connections would not help, and claims
// are shared no further, for a while.
func TestNoneAreAddedWhileBehind(t *testing.T) {
	w := newWay()
	w.each, w.queued = 10e6, mostQueued+1
	w.add(true, 1)
	w.run(time.Second)
	if n := len(w.conns); n != 1 || !w.crowded() {
		t.Fatalf("%d connections, crowded: %t", n, w.crowded())
	}
	w.queued = mostQueued - 1
	w.run(restTime - LookEvery)
	if n := len(w.conns); n != 1 || !w.crowded() {
		t.Errorf("%d connections soon after, crowded: %t", n, w.crowded())
	}
	w.run(time.Second)
	if n := len(w.conns); n < 4 || w.crowded() {
		t.Errorf("%d connections later, crowded: %t", n, w.crowded())
	}
}

func (w *way) crowded() bool {
	return w.u.Received(wayName, Receipt{}, w.now).Crowded
}
