package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// hearsay is how long the answer to one repository speaks for its upstream, and the
// silence about one against it.
const hearsay = 30 * time.Second

// voices remembers of each upstream which repository has got an answer last, and which
// one has not got any since: the silence about a single one is no silence of the
// upstream. The zero value is empty. Safe for concurrent use.
type voices struct {
	mu   sync.Mutex
	last map[string]voice // by the upstream's identity
}

type voice struct {
	good, silent     string
	goodAt, silentAt time.Time
}

// heard notes an answer.
func (m *voices) heard(s oci.Scope, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = map[string]voice{}
	}
	m.last[s.Upstream] = voice{good: s.Repository, goodAt: now}
}

// unheard notes that no answer came, and reports whether that is the silence of the
// upstream as a whole: no other repository has had an answer lately, and another one
// has had none either.
func (m *voices) unheard(s oci.Scope, now time.Time) (all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.last[s.Upstream]
	if v.good != s.Repository && within(now.Sub(v.goodAt), hearsay) {
		return false
	}
	all = v.silent != "" && v.silent != s.Repository && within(now.Sub(v.silentAt), hearsay)
	if !all {
		v.silent, v.silentAt = s.Repository, now
	}
	if m.last == nil {
		m.last = map[string]voice{}
	}
	m.last[s.Upstream] = v
	return all
}
