package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// goneAfter is how long an upstream must have answered 404 for a tag until that is
// forgotten here, too. What looks like a 404 may be the trouble of a registry behind
// the upstream, or of one of its replicas.
const goneAfter = 30 * time.Second

// since remembers since when something is so. It is bounded: what is forgotten
// begins anew. The zero value is empty. Safe for concurrent use.
type since[K comparable] struct {
	mu    sync.Mutex
	times map[K]time.Time
}

// put notes that something is so now, and returns since when it is. first says that
// it was not known before.
func (m *since[K]) put(k K, now time.Time) (began time.Time, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	began, ok := m.times[k]
	switch {
	case ok && !began.After(now): // else the clock was set back
		return began, false
	case m.times == nil:
		m.times = map[K]time.Time{}
	case len(m.times) >= maxFailures:
		for other := range m.times {
			delete(m.times, other)
			break
		}
	}
	m.times[k] = now
	return now, true
}

// get returns since when something is so.
func (m *since[K]) get(k K) (began time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	began, ok = m.times[k]
	return began, ok
}

// forget is for what is not so any more.
func (m *since[K]) forget(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.times, k)
}

// missed notes that the upstream has answered 404 for a tag that is known. One that
// outlives that stays; others are forgotten once the upstream has kept to it for a while.
func (q tagQuery) missed(ctx context.Context) {
	began, first := q.gone.put(q.key(), q.now())
	switch {
	case q.outlives(ctx):
		if first {
			q.log.Warn("upstream has deleted a tag, serving what it meant", "upstream", q.Name, "repository", q.repository, "tag", q.name)
		}
	case q.now().Sub(began) >= goneAfter:
		if err := q.store.DeleteTag(ctx, q.scope, q.name); err != nil {
			q.store.failed("tag not deleted", err, "scope", q.scope.String(), "tag", q.name)
		}
		q.gone.forget(q.key())
	}
}

// outlives reports whether what a tag meant is served although the upstream says
// that there is none: for a while, if that is configured, and always if it is pinned.
func (q tagQuery) outlives(ctx context.Context) bool {
	if began, ok := q.gone.get(q.key()); ok && oci.Within(q.now().Sub(began), q.StaleIfGone) {
		return true
	}
	if q.StaleIfGone < 0 {
		return false
	}
	pinned, err := q.store.Pinned(ctx, q.scope, q.name)
	q.store.readFailed("read pins", q.scope, q.name, err)
	return pinned
}
