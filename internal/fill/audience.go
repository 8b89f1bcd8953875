package fill

import (
	"sync"

	"github.com/pullgate/pullgate/internal/pace"
)

// audience is who has an interest in a fill: each reference keeps its part open, and
// clients make it urgent. Safe for concurrent use.
type audience struct {
	party *pace.Party

	mu    sync.Mutex
	refs  int   // of the fill itself, and of clients
	ahead bool  // no client has asked for it yet
	most  int64 // bytes that it may have until a client does; 0 = any number
}

// newAudience returns one that a client belongs to, or of a fill that is ahead of all.
func newAudience(ahead bool, most int64) audience {
	if ahead {
		return audience{refs: 1, ahead: true, most: most, party: pace.NewParty(0)}
	}
	return audience{refs: 2, party: pace.NewParty(1)}
}

// join takes a reference for a client, but none of a fill that has failed.
func (a *audience) join(o *outcome) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.now().err != nil {
		return false
	}
	a.refs++
	a.ahead = false
	return true
}

// leave gives a reference back.
func (a *audience) leave() (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refs--
	return a.refs == 0
}

// clients counts the clients: readers, and who waits for the fill to be ready.
func (a *audience) clients() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refs - 1
}

// isAhead reports whether no client has asked for the blob yet.
func (a *audience) isAhead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ahead
}

// abandon makes err final of a fill that no client has asked for, and reports whether
// it did: what one waits for is tried again as the client's.
func (a *audience) abandon(o *outcome, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ahead {
		o.fail(err)
	}
	return a.ahead
}

// refuse makes it final that more is to come, -1 = nobody knows how much, than may be
// pulled before a client asks for it.
func (a *audience) refuse(o *outcome, bytes int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ahead || a.most <= 0 || bytes >= 0 && bytes <= a.most {
		return false
	}
	o.fail(errTooLarge())
	return true
}
