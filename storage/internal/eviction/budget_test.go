package eviction

import (
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// newBudget returns the budget of a store that holds so many bytes of docker.io, on a
// disk of which so many bytes are free.
func newBudget(limits Limits, used, free, total int64) *Budget {
	inodes := func() (int64, int64, error) { return 0, 0, nil }
	space := volume.NewSpace(func() (int64, int64, error) { return free, total, nil }, inodes)
	ledger := &volume.Ledger{}
	var stored volume.Tally
	stored.Add("docker.io", used, 1)
	ledger.Add(stored)
	b := NewBudget(space, ledger, func() volume.Tally { return volume.Tally{} })
	b.Store(&limits)
	return b
}

// What exceeds a limit has to go, and some more, so that the next blob has room.
func TestDemand(t *testing.T) {
	const plenty = 1 << 40
	for name, c := range map[string]struct {
		limits         Limits
		all, upstreams int64
	}{
		"no limit":          {Limits{}, 0, 0},
		"kept":              {Limits{MaxSize: 1000}, 0, 0},
		"exceeded":          {Limits{MaxSize: 900}, 100 + 900/50, 0},
		"of an upstream":    {Limits{Upstreams: map[string]int64{"docker.io": 500, "quay.io": 1}}, 0, 500 + 500/50},
		"of the free space": {Limits{MinFree: plenty + 1}, 1 + (plenty+1)/50, 0},
	} {
		d := newBudget(c.limits, 1000, plenty, plenty).Demand()
		if d.all != c.all || d.upstreams["docker.io"] != c.upstreams || len(d.upstreams) > 1 || d.None() != (c.all == 0 && c.upstreams == 0) {
			t.Errorf("%s: demand is %+v", name, d)
		}
	}
}

// What can never fit is not admitted, and what an upstream merely announces does not
// empty the store.
func TestAdmit(t *testing.T) {
	const total = 1 << 30
	b := newBudget(Limits{MaxSize: 2000}, 1000, volume.Floor(total), total)
	for size, want := range map[int64]error{2001: volume.ErrNoSpace, 251: volume.ErrNoSpace, 250: nil, -1: nil} {
		if err := b.Admit("docker.io", size); !errors.Is(err, want) {
			t.Errorf("blob of %d bytes: %v", size, err)
		}
	}
	b.Want(250)
	b.Want(251)
	if got := b.Refused.Load(); got != 250 {
		t.Errorf("room is wanted for %d bytes", got)
	}
	select {
	case <-b.Kick:
	default:
		t.Error("nobody is asked for a pass")
	}
}

// A limit that is smaller than a blob says so, and what to set, and not that the disk is
// full.
func TestLimitIsTooSmall(t *testing.T) {
	b := newBudget(Limits{MaxSize: 200}, 0, 1<<40, 1<<40)
	for _, again := range []bool{false, true} {
		limit, ok := errors.AsType[*LimitError](b.Admit("docker.io", 30<<20))
		if !ok || limit.Again != again || !errors.Is(limit, volume.ErrNoSpace) || !errors.Is(limit, syscall.ENOSPC) {
			t.Errorf("error is %v, %+v", limit, limit)
		}
		if want := "blob of 30 MiB is larger than max_size of storage, 200 B: did you mean 200GiB?"; limit.Error() != want {
			t.Errorf("error is %v, want %s", limit, want)
		}
	}
	b.Store(&Limits{Upstreams: map[string]int64{"docker.io": 5 << 20}})
	limit, ok := errors.AsType[*LimitError](b.Admit("docker.io#1f0c5d2a9b7e", 30<<20))
	if want := "blob of 30 MiB is larger than max_size of upstream docker.io, 5.0 MiB: raise it"; !ok || limit.Again || limit.Error() != want {
		t.Errorf("error is %v, want %s", limit, want)
	}
	e := &LimitError{Size: 30 << 20, Pinned: 1 << 30, Limit: 1 << 30}
	if want := "blob of 30 MiB is larger than max_size of storage, 1.0 GiB, beside 1.0 GiB that are pinned: raise it"; e.Error() != want {
		t.Errorf("error is %v, want %s", e, want)
	}
}

// A claim that ends without being fulfilled is for nobody any more.
func TestDrop(t *testing.T) {
	b := newBudget(Limits{MaxSize: 1500}, 1000, 1<<40, 1<<40)
	var first, second volume.Claim
	if !b.Claim(&first, "docker.io", 400) || b.Claim(&second, "docker.io", 200) {
		t.Error("claims are not granted within the limit")
	}
	var stored volume.Tally
	stored.Add("docker.io", 400, 1)
	stored.Claims = []*volume.Claim{&first}
	b.ledger.Add(stored)
	b.Drop(&first)
	b.Drop(&second)
	if n := b.withdrawn.Load(); n != 1 {
		t.Errorf("%d are withdrawn", n)
	}
}

// Who waits for room gets it from a pass, gives up when passes change nothing, and ends
// with the store.
func TestAwait(t *testing.T) {
	l := life.New(slog.New(slog.DiscardHandler), func() {}, time.Second)
	b := newBudget(Limits{}, 0, 1<<40, 1<<40)
	r := &Remover{}
	q := NewQueue(l, b, r, time.Minute, false)
	full := errors.New("full")
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-b.Kick:
				end := q.begin()
				end()
			case <-stop:
				return
			}
		}
	}()
	tries := 0
	if err := q.Await(func() error {
		if tries++; tries < 2 {
			return full
		}
		return nil
	}); err != nil || tries != 2 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	if err := q.Await(func() error { return full }); !errors.Is(err, full) {
		t.Errorf("what never fits: %v", err)
	}
	close(stop)
	l.End()
	if err := q.Await(func() error { return full }); !errors.Is(err, full) || !errors.Is(err, life.ErrClosed) {
		t.Errorf("at the end: %v", err)
	}
	if quiet := NewQueue(l, b, r, time.Minute, true); !errors.Is(quiet.Await(func() error { return full }), full) {
		t.Error("a quiet store makes room")
	}
}
