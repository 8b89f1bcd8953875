package mirror

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// goodFor is how long the answer to one repository speaks for its upstream, when
// that is silent about another one.
const goodFor = 30 * time.Second

// good remembers of each upstream which repository has got an answer last. The zero
// value is empty. Safe for concurrent use.
type good struct {
	mu   sync.Mutex
	last map[string]goodAnswer // by the upstream's identity
}

type goodAnswer struct {
	repository string
	at         time.Time
}

func (g *good) put(s oci.Scope, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last == nil {
		g.last = map[string]goodAnswer{}
	}
	g.last[s.Upstream] = goodAnswer{s.Repository, now}
}

// another reports whether another repository of the upstream had an answer lately.
func (g *good) another(s oci.Scope, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, ok := g.last[s.Upstream]
	return ok && a.repository != s.Repository && within(now.Sub(a.at), goodFor)
}
