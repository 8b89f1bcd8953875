package volume

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/pullgate/pullgate/internal/oci"
)

// Tally is a number of blobs and their bytes, or how it changed. The zero value
// is none.
type Tally struct {
	Blobs, Bytes int64
	Upstreams    map[string]int64 // Bytes by the name of the upstream
	Claims       []*Claim         // that it fulfils
}

// Add adds a blob of an upstream, or takes it off: n is 1 or -1.
func (t *Tally) Add(origin string, size, n int64) {
	t.Blobs += n
	t.AddBytes(origin, n*size)
}

// AddBytes adds bytes of an upstream.
func (t *Tally) AddBytes(origin string, bytes int64) {
	t.Bytes += bytes
	t.addTo(oci.UpstreamName(origin), bytes)
}

func (t *Tally) addTo(name string, bytes int64) {
	if t.Upstreams == nil {
		t.Upstreams = make(map[string]int64)
	}
	if t.Upstreams[name] += bytes; t.Upstreams[name] == 0 {
		delete(t.Upstreams, name)
	}
}

// Claim is what a verified blob that is on its way into the store will take there.
type Claim struct {
	name    string
	size    int64
	granted bool
	stored  atomic.Bool
}

// Fulfilled reports whether the blob is stored and counts as such.
func (c *Claim) Fulfilled() bool { return c.stored.Load() }

// Ledger is what the store holds, as far as it was counted, and what is about to
// come. The zero value holds nothing. Safe for concurrent use.
type Ledger struct {
	mu    sync.Mutex
	total Tally
	// Claims that are granted may not make the total exceed a limit.
	claims map[*Claim]struct{}
	// pinned and busy are what the last decision had to spare.
	pinned Tally
	busy   int64
}

// Add adds what was stored or removed, and ends the claims that this fulfils.
func (l *Ledger) Add(t Tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.Blobs, l.total.Bytes = l.total.Blobs+t.Blobs, l.total.Bytes+t.Bytes
	for name, bytes := range t.Upstreams {
		l.total.addTo(name, bytes)
	}
	for _, c := range t.Claims {
		delete(l.claims, c)
		c.stored.Store(true)
	}
}

// Used returns the bytes of all blobs.
func (l *Ledger) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.Bytes
}

// Claim asks for room for a verified blob of an upstream: most in all and mostOwn of the
// upstream, 0 = no limit. It reports whether there is some. A claim is dropped in the
// end.
func (l *Ledger) Claim(c *Claim, origin string, size, most, mostOwn int64) (granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.name, c.size, c.granted = oci.UpstreamName(origin), size, false
	all, own := l.total.Bytes+size, l.total.Upstreams[c.name]+size
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
		l.claims = make(map[*Claim]struct{})
	}
	l.claims[c] = struct{}{}
	return c.granted
}

// Granting reports whether anything that was granted is not stored yet.
func (l *Ledger) Granting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.claims {
		if c.granted {
			return true
		}
	}
	return false
}

// Drop ends a claim, and reports whether it was not fulfilled.
func (l *Ledger) Drop(c *Claim) (unfulfilled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.claims, c)
	return !c.stored.Load()
}

// Balance returns what is there, and what is claimed, granted or not.
func (l *Ledger) Balance() (total, claimed Tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total = Tally{Blobs: l.total.Blobs, Bytes: l.total.Bytes, Upstreams: maps.Clone(l.total.Upstreams)}
	for c := range l.claims {
		claimed.Bytes += c.size
		claimed.addTo(c.name, c.size)
	}
	return total, claimed
}

// SetPinned notes what had to be spared: what is pinned, and the bytes of what is open.
func (l *Ledger) SetPinned(pinned Tally, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned, l.busy = pinned, busy
}

// Spared returns how much is pinned, and how many bytes are open.
func (l *Ledger) Spared() (pinned Tally, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Tally{Blobs: l.pinned.Blobs, Bytes: l.pinned.Bytes, Upstreams: maps.Clone(l.pinned.Upstreams)}, l.busy
}
