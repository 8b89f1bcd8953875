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
}

// add adds a blob, or takes it off: n is 1 or -1.
func (t *tally) add(r blobRecord, n int64) {
	t.blobs, t.bytes = t.blobs+n, t.bytes+n*r.size
	if t.upstreams == nil {
		t.upstreams = make(map[string]int64)
	}
	t.upstreams[oci.UpstreamName(r.origin)] += n * r.size
}

// ledger is what the store holds, as far as it was counted. The zero value holds
// nothing. Safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	total tally
}

func (l *ledger) add(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.blobs, l.total.bytes = l.total.blobs+t.blobs, l.total.bytes+t.bytes
	for name, bytes := range t.upstreams {
		if l.total.upstreams == nil {
			l.total.upstreams = make(map[string]int64)
		}
		if l.total.upstreams[name] += bytes; l.total.upstreams[name] == 0 {
			delete(l.total.upstreams, name)
		}
	}
}

// used returns the bytes of all blobs.
func (l *ledger) used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.bytes
}

func (l *ledger) stored() (blobs, bytes int64, upstreams map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.blobs, l.total.bytes, maps.Clone(l.total.upstreams)
}
