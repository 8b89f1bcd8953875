package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// announcedFor is how long an upstream's word on a manifest that is not stored is
	// believed. Clients ask before they get it, some several times.
	announcedFor = 30 * time.Second
	maxAnnounced = 1024
)

// announced remembers what upstreams have announced of manifests that nobody has got yet. The
// zero value is empty. Safe for concurrent use.
type announced struct {
	mu   sync.Mutex
	said map[key]announcement
}

type announcement struct {
	descriptor oci.Descriptor
	at         time.Time
}

func (m *announced) put(k key, d oci.Descriptor, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said == nil {
		m.said = map[key]announcement{}
	}
	if _, ok := m.said[k]; !ok && len(m.said) >= maxAnnounced {
		for other := range m.said { // any: it costs a HEAD
			delete(m.said, other)
			break
		}
	}
	m.said[k] = announcement{d, now}
}

func (m *announced) get(k key, now time.Time) (oci.Descriptor, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.said[k]
	if ok && !oci.Within(now.Sub(w.at), announcedFor) {
		delete(m.said, k)
		ok = false
	}
	return w.descriptor, ok
}
