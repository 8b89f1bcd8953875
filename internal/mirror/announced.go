package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// toldFor is how long an upstream's word on a manifest that is not stored is
	// believed. Clients ask before they get it, some several times.
	toldFor = 30 * time.Second
	maxTold = 1024
)

// told remembers what upstreams have told of manifests that nobody has got yet. The
// zero value is empty. Safe for concurrent use.
type told struct {
	mu    sync.Mutex
	words map[key]word
}

type word struct {
	descriptor oci.Descriptor
	at         time.Time
}

func (m *told) put(k key, d oci.Descriptor, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.words == nil {
		m.words = map[key]word{}
	}
	if _, ok := m.words[k]; !ok && len(m.words) >= maxTold {
		for other := range m.words { // any: it costs a HEAD
			delete(m.words, other)
			break
		}
	}
	m.words[k] = word{d, now}
}

func (m *told) get(k key, now time.Time) (oci.Descriptor, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.words[k]
	if ok && !oci.Within(now.Sub(w.at), toldFor) {
		delete(m.words, k)
		ok = false
	}
	return w.descriptor, ok
}
