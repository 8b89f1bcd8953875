package mirror

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pullgate/pullgate/internal/oci"
)

// DefaultMissesPerClient is Upstream.MissesPerClient where that is 0: more than
// any container runtime asks for at once.
const DefaultMissesPerClient = 64

// fillPatience is how long a request waits for its client's turn to start a fill.
// containerd waits 30 s for a header.
const fillPatience = 25 * time.Second

// turns bound what one client can make an upstream do at once: so many look-ups
// and so many fills. Who asks for more waits, in order; nobody waits for another
// client or another upstream, nor for what others have started anyway. The zero
// value is ready. Safe for concurrent use.
type turns struct {
	mu     sync.Mutex
	queues map[turnKey]*queue // those that somebody is in
}

type turnKey struct {
	client, upstream string
	fill             bool
}

type queue struct {
	places *semaphore.Weighted
	in     int // turns and those who wait for one
}

// turn is a permission to ask an upstream. It ends once.
type turn struct {
	t   *turns
	key turnKey
}

// end gives the turn back. nil is no turn.
func (u *turn) end() {
	if u == nil {
		return
	}
	u.t.mu.Lock()
	defer u.t.mu.Unlock()
	u.t.queues[u.key].places.Release(1)
	u.t.leaveLocked(u.key)
}

func (t *turns) leaveLocked(k turnKey) {
	q := t.queues[k]
	if q.in--; q.in == 0 {
		delete(t.queues, k)
	}
}

// enter returns the queue of a client, which the caller leaves. A limit that a
// reload has changed applies once nobody is in.
func (t *turns) enter(k turnKey, limit int) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[k]
	if q == nil {
		if t.queues == nil {
			t.queues = map[turnKey]*queue{}
		}
		q = &queue{places: semaphore.NewWeighted(int64(limit))}
		t.queues[k] = q
	}
	q.in++
	return q
}

// turnKey is whose turn a request needs. ok is false if it needs none.
func (v view) turnKey(fill bool) (k turnKey, ok bool) {
	return turnKey{v.client, v.Identity, fill}, v.client != "" && v.MissesPerClient > 0
}

// tryTurn returns a turn if there is one at once. nil, true = none is needed.
func (v view) tryTurn(fill bool) (*turn, bool) { return v.tryTurnBeside(fill, 0) }

// trySpareTurn returns a turn for a fill that the client has not asked for: while it
// has half of its turns left beside.
func (v view) trySpareTurn() (*turn, bool) {
	return v.tryTurnBeside(true, int64(v.MissesPerClient+1)/2)
}

// tryTurnBeside is tryTurn where so many others have to be free, too.
func (v view) tryTurnBeside(fill bool, others int64) (*turn, bool) {
	k, limited := v.turnKey(fill)
	if !limited {
		return nil, true
	}
	t := &v.Cache.turns
	if q := t.enter(k, v.MissesPerClient); q.places.TryAcquire(1 + others) {
		q.places.Release(others)
		return &turn{t, k}, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaveLocked(k)
	return nil, false
}

// awaitTurn waits for a turn. The error is ctx's, or a 503 if it takes longer
// than patience.
func (v view) awaitTurn(ctx context.Context, fill bool, patience time.Duration) (*turn, error) {
	k, limited := v.turnKey(fill)
	if !limited {
		return nil, nil
	}
	t := &v.Cache.turns
	q := t.enter(k, v.MissesPerClient)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if q.places.Acquire(waiting, 1) == nil {
		return &turn{t, k}, nil
	}
	t.mu.Lock()
	t.leaveLocked(k)
	t.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, &oci.Error{
		Code: oci.CodeUnavailable, Status: 503, RetryAfter: 5 * time.Second,
		Message: "this client asks " + v.Name + " for too much at once",
	}
}
