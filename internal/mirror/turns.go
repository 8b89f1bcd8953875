package mirror

import (
	"context"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// DefaultMissesPerClient is Upstream.MissesPerClient where that is 0: more than
// any container runtime asks for at once.
const DefaultMissesPerClient = 64

// turnKey is what one client may make an upstream do at once so often: look-ups, or
// fills. Nobody waits for another client or another upstream, nor for what others have
// started anyway.
type turnKey struct {
	client, upstream string
	fill             bool
}

// turn is a permission to ask an upstream. It ends once.
type turn struct {
	places *pace.Limiter[turnKey]
	key    turnKey
}

// end gives the turn back. nil is no turn.
func (u *turn) end() {
	if u != nil {
		u.places.Leave(u.key)
	}
}

// turnKey is whose turn a request needs. ok is false if it needs none.
func (v view) turnKey(fill bool) (k turnKey, ok bool) {
	return turnKey{v.client, v.Identity, fill}, v.client != "" && v.MissesPerClient > 0
}

// tryTurn returns a turn if there is one at once, and so many others are free, too. nil,
// true = none is needed.
func (v view) tryTurn(fill bool, others int) (*turn, bool) {
	k, limited := v.turnKey(fill)
	if !limited {
		return nil, true
	}
	if !v.turns.TryEnter(k, v.MissesPerClient, others) {
		return nil, false
	}
	return &turn{&v.turns, k}, true
}

// awaitTurn waits for a turn. The error is ctx's, or a 503 if it takes longer
// than patience.
func (v view) awaitTurn(ctx context.Context, fill bool, patience time.Duration) (*turn, error) {
	k, limited := v.turnKey(fill)
	if !limited {
		return nil, nil
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if v.turns.Enter(waiting, k, v.MissesPerClient) == nil {
		return &turn{&v.turns, k}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, &oci.Error{
		Code: oci.CodeUnavailable, Status: 503, RetryAfter: 5 * time.Second,
		Message: "this client asks " + v.Name + " for too much at once",
	}
}
