package mirror

import (
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// announcedFor is how long an upstream's word on a manifest that is not stored is
	// believed. Clients ask before they get it, some several times.
	announcedFor = 30 * time.Second
	maxAnnounced = 1024
	// maxNamed bounds what is remembered of tags whose manifests nobody has got yet.
	maxNamed = 4096
)

// announced remembers what upstreams have announced of manifests that nobody has got yet. The
// zero value is empty. Safe for concurrent use.
type announced struct{ bounded[announcement] }

type announcement struct {
	descriptor oci.Descriptor
	at         time.Time
}

func (m *announced) put(k key, d oci.Descriptor, now time.Time) {
	m.bounded.put(k, announcement{d, now}, maxAnnounced)
}

func (m *announced) get(k key, now time.Time) (oci.Descriptor, bool) {
	w, ok := m.bounded.get(k)
	return w.descriptor, ok && oci.Within(now.Sub(w.at), announcedFor)
}
