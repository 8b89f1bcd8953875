package pace

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// throng is a model of the GETs at one upstream.
type throng struct {
	t     *testing.T
	c     Crowds
	now   time.Time
	scope oci.Scope
}

func newThrong(t *testing.T) *throng {
	return &throng{t: t, now: time.Unix(1, 0), scope: oci.Scope{Upstream: wayName, Repository: "a"}}
}

// guest is one GET, which a client waits for or none.
type guest struct {
	*Visit
	ctx context.Context
}

func (h *throng) enter(clients int, extra bool) (guest, bool) {
	ctx, yield := context.WithCancelCause(h.t.Context())
	g := guest{&Visit{Scope: h.scope, Party: NewParty(clients), Extra: extra}, ctx}
	return g, h.c.Enter(g.Visit, yield, h.now) != nil
}

func (h *throng) add(clients int) guest {
	g, _ := h.enter(clients, false)
	return g
}

// serve makes the upstream serve as many as are given.
func (h *throng) serve(guests ...guest) {
	for _, g := range guests {
		h.c.Serve(g.Visit, h.now)
	}
}

func (g guest) in() bool {
	select {
	case <-g.turn:
		return !g.yielded()
	default:
		return false
	}
}

func (g guest) yielded() bool { return errors.Is(context.Cause(g.ctx), ErrYielded) }

func (h *throng) limit() int { return h.c.byUpstream[wayName].limit }

// There is no limit before a refusal. Each halves what is in flight, but not what the
// upstream serves, and those that were sent before count once.
func TestCrowdIsHalved(t *testing.T) {
	h := newThrong(t)
	var guests []guest
	for range 8 {
		guests = append(guests, h.add(1))
	}
	for _, g := range guests {
		if !g.in() {
			t.Fatal("one waits without a limit")
		}
	}
	h.serve(guests[:2]...)
	for i, g := range guests[2:] {
		if !h.c.Refuse(g.Visit, false, false, h.now) {
			t.Errorf("refusal %d is the upstream's answer", i)
		}
		if h.limit() != 4 {
			t.Errorf("a limit of %d after %d refusals", h.limit(), i+1)
		}
	}
	third := h.add(1)
	if !third.in() || !h.c.Refuse(third.Visit, false, false, h.now) || h.limit() != 2 {
		t.Errorf("a limit of %d, want 2", h.limit())
	}
	if h.add(1).in() {
		t.Error("one is let in beyond the limit")
	}
}

// A refusal is the upstream's own where nothing else of ours is in flight, nor was a
// moment ago.
func TestRefusalWithoutACrowd(t *testing.T) {
	h := newThrong(t)
	if h.c.Refuse(h.add(1).Visit, false, false, h.now) {
		t.Error("alone")
	}
	before := h.add(1)
	h.serve(before)
	h.c.Leave(before.Visit, false, h.now)
	if !h.c.Refuse(h.add(1).Visit, false, false, h.now) {
		t.Error("after one that has just ended")
	}
	h.now = h.now.Add(settling)
	if h.c.Refuse(h.add(1).Visit, false, false, h.now) {
		t.Error("long after it")
	}
	before = h.add(1)
	h.c.Leave(before.Visit, true, h.now)
	h.now = h.now.Add(lingering - 1)
	if !h.c.Refuse(h.add(1).Visit, false, false, h.now) {
		t.Error("after one that we have cut off")
	}
	h.now = h.now.Add(1)
	if h.c.Refuse(h.add(1).Visit, false, false, h.now) {
		t.Error("long after it was cut off")
	}
	// A blob whose GET the upstream has ended is not refused on its own account.
	before = h.add(1)
	h.serve(before)
	h.c.Leave(before.Visit, false, h.now)
	again := h.add(1)
	again.Party = before.Party
	if h.c.Refuse(again.Visit, false, false, h.now) {
		t.Error("after its own")
	}
}

// A denial is due to others only where the upstream serves the repository.
func TestDenialInACrowd(t *testing.T) {
	h := newThrong(t)
	h.serve(h.add(1))
	h.scope.Repository = "b"
	if h.c.Refuse(h.add(1).Visit, true, false, h.now) {
		t.Error("another repository")
	}
	if !h.c.Refuse(h.add(1).Visit, true, true, h.now) {
		t.Error("one that is known")
	}
	h.scope.Repository = "a"
	if !h.c.Refuse(h.add(1).Visit, true, false, h.now) {
		t.Error("the same")
	}
}

// What no client waits for makes room for what one waits for, which goes first.
func TestCrowdMakesRoom(t *testing.T) {
	h := newThrong(t)
	idle, busy := h.add(0), h.add(1)
	h.serve(idle, busy)
	h.c.Refuse(h.add(0).Visit, false, false, h.now)
	if h.limit() != 2 {
		t.Fatalf("a limit of %d", h.limit())
	}
	ahead, wanted := h.add(0), h.add(1)
	if ahead.in() || !wanted.in() || !idle.yielded() || busy.yielded() {
		t.Error("what no client waits for makes no room")
	}
	if _, ok := h.enter(1, true); ok {
		t.Error("one more for speed is let in")
	}
	other := h.add(1)
	if other.in() || busy.yielded() || wanted.yielded() {
		t.Error("what a client waits for makes room")
	}
	h.c.Leave(busy.Visit, false, h.now)
	if !other.in() || ahead.in() {
		t.Error("the order is not that of the need")
	}
	// A client comes to wait for it.
	last := h.add(0)
	h.c.Leave(other.Visit, false, h.now)
	if !ahead.in() || last.in() {
		t.Error("it is not the turn of what has waited longest")
	}
	h.c.Join(wayName, last.Party, 1, h.now)
	if !last.in() || !ahead.yielded() {
		t.Error("a client waits for what is ahead")
	}
	// It leaves, while another one waits.
	next := h.add(1)
	if next.in() {
		t.Fatal("there is room for one more")
	}
	h.c.Join(wayName, last.Party, -1, h.now)
	if !next.in() || !last.yielded() {
		t.Error("what a client has left makes no room")
	}
}

// The limit grows by one a while after it was reached, for those in line too, and is
// forgotten when nobody has asked for long.
func TestCrowdGrows(t *testing.T) {
	h := newThrong(t)
	a := h.add(1)
	h.serve(a)
	h.c.Refuse(h.add(1).Visit, false, false, h.now)
	waiting := h.add(0)
	for range 9 {
		h.now = h.now.Add(time.Second)
		h.c.Look(wayName, h.now)
	}
	if waiting.in() {
		t.Error("it grows too fast")
	}
	h.now = h.now.Add(time.Second)
	h.c.Look(wayName, h.now)
	if !waiting.in() || h.limit() != 2 {
		t.Errorf("a limit of %d after a while", h.limit())
	}
	h.now = h.now.Add(growAfter)
	h.c.Look(wayName, h.now)
	if h.limit() != 2 {
		t.Error("it grows before the upstream serves what is in flight")
	}
	h.c.Leave(a.Visit, false, h.now)
	h.c.Leave(waiting.Visit, false, h.now)
	h.now = h.now.Add(forgetCrowd + 1)
	h.add(1)
	if h.limit() != 0 {
		t.Errorf("a limit of %d for ever", h.limit())
	}
}

// While what a client waits for pauses after a refusal, nothing takes the place that
// was made for it.
func TestCrowdHoldsAPlace(t *testing.T) {
	h := newThrong(t)
	busy := h.add(1)
	h.serve(busy)
	refused := h.add(1)
	h.c.Refuse(refused.Visit, false, false, h.now)
	ahead := h.add(0)
	h.c.Hold(wayName)
	h.c.Leave(busy.Visit, false, h.now)
	if ahead.in() {
		t.Error("what is ahead takes the place")
	}
	ctx, yield := context.WithCancelCause(t.Context())
	again := guest{&Visit{Scope: h.scope, Party: refused.Party, Held: true}, ctx}
	h.c.Enter(again.Visit, yield, h.now)
	if !again.in() || ahead.in() {
		t.Error("the place is not held")
	}
	h.c.Leave(again.Visit, false, h.now)
	if !ahead.in() {
		t.Error("the place is held for ever")
	}
	h.c.Hold(wayName)
	last := h.add(0)
	h.c.Leave(ahead.Visit, false, h.now)
	h.c.Unhold(wayName, h.now)
	if !last.in() {
		t.Error("the place is not given back")
	}
}
