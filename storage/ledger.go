package storage

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/pullgate/pullgate/internal/oci"
)

// tally is a number of blobs and their bytes, or how it changed. The zero value
// is none.
type tally struct {
	blobs, bytes int64
	upstreams    map[string]int64 // bytes by the name of the upstream
	claims       []*claim         // that it fulfils
}

// add adds a blob of an upstream, or takes it off: n is 1 or -1.
func (t *tally) add(origin string, size, n int64) {
	t.blobs += n
	t.addBytes(origin, n*size)
}

// addBytes adds bytes of an upstream.
func (t *tally) addBytes(origin string, bytes int64) {
	t.bytes += bytes
	t.addTo(oci.UpstreamName(origin), bytes)
}

func (t *tally) addTo(name string, bytes int64) {
	if t.upstreams == nil {
		t.upstreams = make(map[string]int64)
	}
	if t.upstreams[name] += bytes; t.upstreams[name] == 0 {
		delete(t.upstreams, name)
	}
}

// claim is what a verified blob that is on its way into the store will take there.
type claim struct {
	name    string
	size    int64
	granted bool
	stored  atomic.Bool
}

// ledger is what the store holds, as far as it was counted, and what is about to
// come. The zero value holds nothing. Safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	total tally
	// claims that are granted may not make the total exceed a limit.
	claims map[*claim]struct{}
	// pinned and busy are what the last decision had to spare.
	pinned tally
	busy   int64
}

// add adds what was stored or removed, and ends the claims that this fulfils.
func (l *ledger) add(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.blobs, l.total.bytes = l.total.blobs+t.blobs, l.total.bytes+t.bytes
	for name, bytes := range t.upstreams {
		l.total.addTo(name, bytes)
	}
	for _, c := range t.claims {
		delete(l.claims, c)
		c.stored.Store(true)
	}
}

// used returns the bytes of all blobs.
func (l *ledger) used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.bytes
}

// claim asks for room for a verified blob of an upstream: most in all and mostOwn of the
// upstream, 0 = no limit. It reports whether there is some. A claim is dropped in the
// end.
func (l *ledger) claim(c *claim, origin string, size, most, mostOwn int64) (granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.name, c.size, c.granted = oci.UpstreamName(origin), size, false
	all, own := l.total.bytes+size, l.total.upstreams[c.name]+size
	for other := range l.claims {
		if !other.granted {
			continue
		}
		if all += other.size; other.name == c.name {
			own += other.size
		}
	}
	c.granted = (most <= 0 || all <= most) && (mostOwn <= 0 || own <= mostOwn)
	if l.claims == nil {
		l.claims = make(map[*claim]struct{})
	}
	l.claims[c] = struct{}{}
	return c.granted
}

// granting reports whether anything that was granted is not stored yet.
func (l *ledger) granting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.claims {
		if c.granted {
			return true
		}
	}
	return false
}

// drop ends a claim, and reports whether it was not fulfilled.
func (l *ledger) drop(c *claim) (unfulfilled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.claims, c)
	return !c.stored.Load()
}

// balance returns what is there, and what is claimed, granted or not.
func (l *ledger) balance() (total, claimed tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total = tally{blobs: l.total.blobs, bytes: l.total.bytes, upstreams: maps.Clone(l.total.upstreams)}
	for c := range l.claims {
		claimed.bytes += c.size
		claimed.addTo(c.name, c.size)
	}
	return total, claimed
}

// setPinned notes what had to be spared: what is pinned, and the bytes of what is open.
func (l *ledger) setPinned(pinned tally, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned, l.busy = pinned, busy
}

// spared returns how much is pinned, and how many bytes are open.
func (l *ledger) spared() (pinned tally, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tally{blobs: l.pinned.blobs, bytes: l.pinned.bytes, upstreams: maps.Clone(l.pinned.upstreams)}, l.busy
}
