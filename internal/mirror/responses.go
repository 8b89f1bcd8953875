package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// silenceWindow is how long the answer to one repository speaks for its upstream, and the
// silence about one against it.
const silenceWindow = 30 * time.Second

// responses remembers of each upstream which repository has got an answer last, and which
// one has not got any since: the silence about a single one is no silence of the
// upstream. The zero value is empty. Safe for concurrent use.
type responses struct {
	mu   sync.Mutex
	last map[string]response // by the upstream's identity
}

type response struct {
	good, silent     string
	goodAt, silentAt time.Time
}

// answered notes an answer.
func (m *responses) answered(s oci.Scope, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = map[string]response{}
	}
	m.last[s.Upstream] = response{good: s.Repository, goodAt: now}
}

// timedOut notes that no answer came, and reports whether that is the silence of the
// upstream as a whole: no other repository has had an answer lately, and another one
// has had none either.
func (m *responses) timedOut(s oci.Scope, now time.Time) (all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.last[s.Upstream]
	if v.good != s.Repository && oci.Within(now.Sub(v.goodAt), silenceWindow) {
		return false
	}
	all = v.silent != "" && v.silent != s.Repository && oci.Within(now.Sub(v.silentAt), silenceWindow)
	if !all {
		v.silent, v.silentAt = s.Repository, now
	}
	if m.last == nil {
		m.last = map[string]response{}
	}
	m.last[s.Upstream] = v
	return all
}
