package storage

import (
	"maps"
	"sync"

	"github.com/pullgate/pullgate/internal/oci"
)

// tally is a number of blobs and their bytes, or how it changed. The zero value
// is none.
type tally struct {
	blobs, bytes int64
	upstreams    map[string]int64 // bytes by the name of the upstream
	parts        []*Part          // whose claims it fulfils
}

// add adds a blob, or takes it off: n is 1 or -1.
func (t *tally) add(r blobRecord, n int64) {
	t.blobs, t.bytes = t.blobs+n, t.bytes+n*r.size
	t.addTo(oci.UpstreamName(r.origin), n*r.size)
}

func (t *tally) addTo(name string, bytes int64) {
	if t.upstreams == nil {
		t.upstreams = make(map[string]int64)
	}
	if t.upstreams[name] += bytes; t.upstreams[name] == 0 {
		delete(t.upstreams, name)
	}
}

// ledger is what the store holds, as far as it was counted, and what is about to
// come. The zero value holds nothing. Safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	total tally
	// claims are verified blobs that are on their way into the store. Those that
	// are granted may not make it exceed a limit.
	claims map[*Part]claim
	// pinned and busy are what the last decision had to spare.
	pinned tally
	busy   int64
}

type claim struct {
	name    string
	size    int64
	granted bool
}

func (l *ledger) add(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.blobs, l.total.bytes = l.total.blobs+t.blobs, l.total.bytes+t.bytes
	for name, bytes := range t.upstreams {
		l.total.addTo(name, bytes)
	}
	for _, p := range t.parts {
		delete(l.claims, p)
		p.stored.Store(true)
	}
}

// used returns the bytes of all blobs.
func (l *ledger) used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.bytes
}

// claim asks for room for a verified blob, and reports whether there is some. What
// is claimed is to be dropped in the end.
func (l *ledger) claim(limits *Limits, p *Part, size int64) (granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := oci.UpstreamName(p.origin)
	all, own := l.total.bytes+size, l.total.upstreams[name]+size
	for other, c := range l.claims {
		if !c.granted || other == p {
			continue
		}
		if all += c.size; c.name == name {
			own += c.size
		}
	}
	granted = (limits.MaxSize <= 0 || all <= limits.MaxSize) &&
		(limits.Upstreams[name] <= 0 || own <= limits.Upstreams[name])
	if l.claims == nil {
		l.claims = make(map[*Part]claim)
	}
	l.claims[p] = claim{name, size, granted}
	return granted
}

// granting reports whether anything that was granted is not stored yet.
func (l *ledger) granting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.claims {
		if c.granted {
			return true
		}
	}
	return false
}

func (l *ledger) drop(p *Part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.claims, p)
}

// balance returns what is there, and what is claimed, granted or not.
func (l *ledger) balance() (total, claimed tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total = tally{blobs: l.total.blobs, bytes: l.total.bytes, upstreams: maps.Clone(l.total.upstreams)}
	for _, c := range l.claims {
		claimed.bytes += c.size
		claimed.addTo(c.name, c.size)
	}
	return total, claimed
}

func (l *ledger) setPinned(pinned tally, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned, l.busy = pinned, busy
}

// pinnedBytes returns how much is pinned, in all and of one upstream.
func (l *ledger) pinnedBytes(name string) (all, own int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned.bytes, l.pinned.upstreams[name]
}

func (l *ledger) anyPinned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned.blobs > 0
}

func (l *ledger) spared() (pinned, busy int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned.bytes, l.busy
}
