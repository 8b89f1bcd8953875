package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// denials remembers since when an upstream has denied a repository. A denial may
// be a mistake, such as a password that was changed here later than there, so
// that old answers serve on for a while; but it may also be meant. The zero value
// is empty. Safe for concurrent use.
type denials struct {
	mu    sync.Mutex
	since map[oci.Scope]time.Time
}

// put notes a denial, and returns when the first one of this scope was.
func (m *denials) put(s oci.Scope, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, ok := m.since[s]
	switch {
	case ok && !first.After(now): // else the clock was set back
		return first
	case m.since == nil:
		m.since = map[oci.Scope]time.Time{}
	case len(m.since) >= maxFailures:
		for other := range m.since { // any: its time begins anew
			delete(m.since, other)
			break
		}
	}
	m.since[s] = now
	return now
}

// forget is for an upstream that has given an answer.
func (m *denials) forget(s oci.Scope) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.since, s)
}
