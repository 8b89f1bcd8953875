package mirror

import (
	"container/list"
	"context"
	"errors"
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
	kind  kind
	scope oci.Scope
	ref   string
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

// remember keeps err for the next who ask for k. spare says that a stale answer
// serves them meanwhile.
func (c *Cache) remember(k key, err error, spare bool) {
	e := oci.AsError(err)
	now := c.now()
	keep := rememberOther
	switch e.Class {
	case oci.ClassCanceled, oci.ClassExhausted: // no fault of the upstream's
		return
	case oci.ClassBreaker: // which remembers by itself
		if spare {
			c.failures.put(upstreamKey(kindSuspect, k), e, now, rememberSuspect)
		}
		return
	case oci.ClassNotFound:
		keep = rememberUnknown
	case oci.ClassDenied:
		keep = rememberUnknown
	case oci.ClassDigest:
		keep = rememberDigest
	case oci.ClassRateLimited:
		keep = rememberRate
		if e.RetryAfter != 0 {
			keep = min(max(e.RetryAfter, minRate), maxRate)
		}
		if k.kind == kindTag || k.kind == kindManifest {
			c.failures.put(scopeKey(kindRate, k), e, now, keep)
		}
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout, oci.ClassToken:
		if spare {
			c.suspect(k, e)
		}
		fallthrough
	default:
		if spare {
			keep = rememberStale
		}
	}
	c.failures.put(k, e, now, keep)
}

// remembered returns the failure that answers a request for k without asking
// the upstream. Who has a spare answer does not wait for an upstream that was
// just found unreachable by others.
func (c *Cache) remembered(k key, spare bool) *oci.Error {
	now := c.now()
	if e := c.failures.get(k, now); e != nil {
		return e
	}
	if k.kind == kindTag || k.kind == kindManifest {
		if e := c.failures.get(scopeKey(kindRate, k), now); e != nil {
			return e
		}
	}
	if !spare {
		return nil
	}
	if e := c.silence(kindUpstream, k); e != nil || k.kind == kindTag {
		return e
	}
	return c.suspected(k)
}

// suspect keeps those who have a spare answer from asking the upstream for a
// moment, and from waiting for it for longer. As long as it may be the trouble of one
// repository, that is for this one alone.
func (c *Cache) suspect(k key, e *oci.Error) {
	now, whose := c.now(), scopeKey
	switch e.Class {
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS:
		whose = upstreamKey
	default:
		if c.voices.unheard(k.scope, now) {
			whose = upstreamKey
		}
	}
	c.failures.put(whose(kindUpstream, k), e, now, rememberStale)
	c.failures.put(whose(kindSuspect, k), e, now, rememberSuspect)
}

// suspected returns why an upstream is asked, but not waited for: the first who
// found it silent has waited for all.
func (c *Cache) suspected(k key) *oci.Error { return c.silence(kindSuspect, k) }

func (c *Cache) silence(of kind, k key) *oci.Error {
	now := c.now()
	if e := c.failures.get(upstreamKey(of, k), now); e != nil {
		return e
	}
	return c.failures.get(scopeKey(of, k), now)
}

// trust is for an upstream that has answered.
func (c *Cache) trust(k key) {
	for _, of := range []kind{kindUpstream, kindSuspect} {
		c.failures.forget(upstreamKey(of, k))
		c.failures.forget(scopeKey(of, k))
	}
	c.denials.forget(k.scope)
	c.voices.heard(k.scope, c.now())
}

func scopeKey(of kind, k key) key { return key{kind: of, scope: k.scope} }

func upstreamKey(of kind, k key) key {
	return key{kind: of, scope: oci.Scope{Upstream: k.scope.Upstream}}
}

// asked turns what a Remote returned into an error with a class, also where the
// deadline of the look-up or the end of the Cache cut it short.
func (c *Cache) asked(ctx context.Context, err error) error {
	class := oci.ClassOf(err)
	switch class {
	case oci.ClassNone, oci.ClassCanceled, oci.ClassTimeout:
	default:
		return err
	}
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return errClosed()
	case class != oci.ClassTimeout && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return oci.UpstreamError(oci.ClassTimeout, "", "the upstream did not answer in time", err)
	}
	return err
}
