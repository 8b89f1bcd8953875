package mirror

import (
	"container/list"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// How long a failure is remembered. Clients repeat at once, up to five times,
// whatever Retry-After says; each burst is to cost the upstream one request.
const (
	rememberUnknown       = 10 * time.Second // 404, 401, 403
	rememberDigest        = time.Minute
	rememberOther         = 2 * time.Second
	rememberLong          = time.Minute     // that a list is too long
	rememberSize          = time.Hour       // that the size of a blob is not what was told
	rememberStale         = 5 * time.Second // where a stale answer serves meanwhile
	rememberSuspect       = time.Minute     // where it is asked behind its back
	rememberRate          = 10 * time.Second
	minRate, maxRate      = time.Second, time.Hour
	maxFailures           = 10_000
	kindTag          kind = "tag"
	kindManifest     kind = "manifest"
	kindBlob         kind = "blob"
	kindSize         kind = "size"
	kindProof        kind = "proof" // that the upstream still has it
	kindReferrers    kind = "referrers"
	kindTags         kind = "tags"
	kindUpstream     kind = "upstream" // transport failures of a whole upstream: not to be asked
	kindSuspect      kind = "suspect"  // the same: not to be waited for
	kindRate         kind = "rate"     // the rate limit on manifests of a repository
)

type kind string

// key names one thing that an upstream can be asked for.
type key struct {
	kind        kind
	scope       oci.Scope
	remote, ref string
}

type failure struct {
	key         key
	err         *oci.Error
	from, until time.Time
}

// failures is the negative memory: bounded, the oldest leave first. The zero
// value is empty. Safe for concurrent use.
type failures struct {
	mu    sync.Mutex
	byKey map[key]*list.Element
	order list.List // of *failure, oldest first
}

// get returns what is remembered of k, or nil.
func (m *failures) get(k key, now time.Time) *oci.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[k]
	if e == nil {
		return nil
	}
	f := e.Value.(*failure)
	left := f.until.Sub(now)
	if left <= 0 || now.Before(f.from) { // over, or the clock was set back
		m.remove(e)
		return nil
	}
	if f.err.Class != oci.ClassRateLimited {
		return f.err
	}
	limited := *f.err
	limited.RetryAfter = left
	return &limited
}

func (m *failures) put(k key, err *oci.Error, now time.Time, keep time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byKey[k]; e != nil {
		m.remove(e)
	}
	if m.byKey == nil {
		m.byKey = map[key]*list.Element{}
	}
	m.byKey[k] = m.order.PushBack(&failure{key: k, err: err, from: now, until: now.Add(keep)})
	if m.order.Len() > maxFailures {
		m.remove(m.order.Front())
	}
}

func (m *failures) forget(k key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byKey[k]; e != nil {
		m.remove(e)
	}
}

func (m *failures) remove(e *list.Element) {
	delete(m.byKey, m.order.Remove(e).(*failure).key)
}

func (m *failures) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}
