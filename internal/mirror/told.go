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
	maxTold = 4096
)

// notes are what upstreams have said of manifests that nobody has got yet, bounded: any
// leave for new ones, which costs a request. The zero value is empty. Safe for concurrent
// use.
type notes[T any] struct {
	mu    sync.Mutex
	byKey map[key]T
}

func (m *notes[T]) put(k key, note T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byKey == nil {
		m.byKey = map[key]T{}
	}
	if _, ok := m.byKey[k]; !ok && len(m.byKey) >= maxTold {
		for other := range m.byKey {
			delete(m.byKey, other)
			break
		}
	}
	m.byKey[k] = note
}

// take returns the note of a manifest, once.
func (m *notes[T]) take(k key) (note T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	note, ok = m.byKey[k]
	delete(m.byKey, k)
	return note, ok
}

// word is what an upstream has told of a manifest.
type word struct {
	descriptor oci.Descriptor
	at         time.Time
}

// told remembers words for a while.
type told struct{ notes[word] }

func (m *told) get(k key, now time.Time) (oci.Descriptor, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.byKey[k]
	if ok && !within(now.Sub(w.at), toldFor) {
		delete(m.byKey, k)
		ok = false
	}
	return w.descriptor, ok
}
