package mirror

import (
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// troubles are what is remembered of upstreams that did not answer, or not well: who asks
// for the same again soon gets that, and who has an old answer waits for nobody who was
// just found silent. Safe for concurrent use.
type troubles struct {
	clock     func() time.Time
	failures  failures
	denials   since[oci.Scope] // since when an upstream denies a repository
	responses responses
}

// remember keeps err for the next who ask for k. fallback says that a stale answer
// serves them meanwhile.
func (t *troubles) remember(k key, err error, fallback bool) {
	e := oci.AsError(err)
	now := t.clock()
	keep := rememberOther
	switch e.Class {
	case oci.ClassCanceled, oci.ClassExhausted: // no fault of the upstream's
		return
	case oci.ClassBreaker: // which remembers by itself
		if fallback {
			t.failures.put(upstreamKey(kindSuspect, k), e, now, rememberSuspect)
		}
		return
	case oci.ClassNotFound, oci.ClassDenied:
		keep = rememberUnknown
	case oci.ClassDigest:
		keep = rememberDigest
	case oci.ClassLength:
		switch {
		case k.kind == kindTags || k.kind == kindReferrers: // all of the list had to come for that
			keep = rememberLong
		case fallback:
			keep = rememberStale
		}
	case oci.ClassRateLimited:
		keep = rememberRate
		if e.RetryAfter != 0 {
			keep = min(max(e.RetryAfter, minRate), maxRate)
		}
		if k.kind == kindTag || k.kind == kindManifest {
			t.failures.put(scopeKey(kindRate, k), e, now, keep)
		}
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout, oci.ClassToken:
		if fallback {
			t.suspect(k, e)
		}
		fallthrough
	default:
		if fallback {
			keep = rememberStale
		}
	}
	t.failures.put(k, e, now, keep)
}

// remembered returns the failure that answers a request for k without asking
// the upstream. Who has a fallback does not wait for an upstream that was
// just found unreachable by others.
func (t *troubles) remembered(k key, fallback bool) *oci.Error {
	now := t.clock()
	if e := t.failures.get(k, now); e != nil {
		return e
	}
	if k.kind == kindTag || k.kind == kindManifest {
		if e := t.failures.get(scopeKey(kindRate, k), now); e != nil {
			return e
		}
	}
	if !fallback {
		return nil
	}
	if e := t.silence(kindUpstream, k); e != nil || k.kind == kindTag {
		return e
	}
	// It is asked, but not waited for: the first who found it silent has waited for all.
	return t.silence(kindSuspect, k)
}

// suspect keeps those who have a fallback from asking the upstream for a
// moment, and from waiting for it for longer. As long as it may be the trouble of one
// repository, that is for this one alone.
func (t *troubles) suspect(k key, e *oci.Error) {
	now, whose := t.clock(), scopeKey
	switch e.Class {
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS:
		whose = upstreamKey
	default:
		if t.responses.timedOut(k.scope, now) {
			whose = upstreamKey
		}
	}
	t.failures.put(whose(kindUpstream, k), e, now, rememberStale)
	t.failures.put(whose(kindSuspect, k), e, now, rememberSuspect)
}

func (t *troubles) silence(of kind, k key) *oci.Error {
	now := t.clock()
	if e := t.failures.get(upstreamKey(of, k), now); e != nil {
		return e
	}
	return t.failures.get(scopeKey(of, k), now)
}

// trust is for an upstream that has answered.
func (t *troubles) trust(k key) {
	for _, of := range []kind{kindUpstream, kindSuspect} {
		t.failures.forget(upstreamKey(of, k))
		t.failures.forget(scopeKey(of, k))
	}
	t.denials.forget(k.scope)
	t.responses.answered(k.scope, t.clock())
}

func scopeKey(of kind, k key) key { return key{kind: of, scope: k.scope, remote: k.remote} }

func upstreamKey(of kind, k key) key {
	return key{kind: of, scope: oci.Scope{Upstream: k.scope.Upstream}, remote: k.remote}
}
