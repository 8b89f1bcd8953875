package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// The operations, as Observation.Op names them.
const (
	opPing         = "ping"
	opToken        = "token"
	opHeadManifest = "head_manifest"
	opGetManifest  = "get_manifest"
	opHeadBlob     = "head_blob"
	opGetBlob      = "get_blob"
	opTags         = "tags"
	opReferrers    = "referrers"
)

// The kinds of operations that rate limits tell apart.
const (
	kindMetadata = "metadata"
	kindBlobs    = "blobs"
)

const (
	maxTries   = 3
	retryDelay = 100 * time.Millisecond // doubled each time, and as much again at random
)

// operation is what one method of Client asks for, whichever URL answers.
type operation struct {
	op, kind   string
	verb       string // for messages: "get manifest"
	repository string
	object     string // the tag or digest; for messages and spans
	unknown    oci.Code
}

// query is one request of an operation to one endpoint.
type query struct {
	operation
	method string
	rest   string // the path below the repository
	params url.Values
	header http.Header
	stay   bool
}

// each runs an operation against the endpoints until one answers.
// The error is an *oci.Error: not found if that is what all of them said.
func each[T any](
	ctx context.Context, c *Client, op operation, try func(context.Context, *endpoint, *lease) (T, error),
) (T, error) {
	var zero T
	if err := oci.CheckRepository(op.repository); err != nil {
		return zero, err
	}
	ctx, span := c.start(ctx, op)
	defer span.End()
	began := time.Now()
	deadline := began.Add(c.o.Timeouts.Operation)
	var missing, failed, refused *failure
	c.retries.ask(c.o.Now())
	endpoints := c.inOrder()
	for i, e := range endpoints {
		// What is left of the time is shared, so that an endpoint that swallows
		// packets does not use up the turn of the next.
		sharers := 1 + countReady(endpoints[i+1:])
		wait, ok := e.breaker.admit()
		if !ok {
			refused = sooner(refused, e.refused(wait))
			continue
		}
		value, err := within(ctx, time.Until(deadline)/time.Duration(sharers), func(ctx context.Context, l *lease) (T, error) {
			l.last = sharers == 1
			return persist(ctx, c, e, l, try)
		})
		if err == nil {
			return value, nil
		}
		f := asFailure(ctx, e.base.Host, err)
		if f.class == oci.ClassNotFound {
			missing = f
			continue
		}
		failed = f
		if f.class == oci.ClassCanceled || ctx.Err() != nil {
			break
		}
		switch f.class {
		case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout:
			e.downUntil.Store(c.o.Now().Add(downFor).UnixNano())
		}
	}
	switch {
	case failed != nil:
	case refused != nil:
		failed = refused // who was not asked may have what the others miss
	default:
		failed = missing
	}
	err := c.errorOf(op, failed)
	recordError(span, err)
	if !failed.crowded { // then it is asked again, and who gives up tells
		c.report(ctx, op, err, failed.attempts, time.Since(began))
	}
	return zero, err
}

// countReady returns how many endpoints would be asked now.
func countReady(endpoints []*endpoint) (n int) {
	for _, e := range endpoints {
		if e.breaker.ready() {
			n++
		}
	}
	return n
}

// refused is the failure of who was not asked.
func (e *endpoint) refused(wait time.Duration) *failure {
	return &failure{
		class: oci.ClassBreaker, retryAfter: wait, unasked: true,
		text: e.base.Host + " has failed too often in a row, and is not asked for a moment",
	}
}

// sooner returns the failure that is over first.
func sooner(a, b *failure) *failure {
	if a != nil && a.retryAfter <= b.retryAfter {
		return a
	}
	return b
}

// persist tries one endpoint, which its breaker has admitted, and again where
// that may help soon.
func persist[T any](
	ctx context.Context, c *Client, e *endpoint, l *lease, try func(context.Context, *endpoint, *lease) (T, error),
) (T, error) {
	for n := 1; ; n++ {
		value, err := try(ctx, e, l)
		if err == nil {
			e.breaker.record(nil)
			return value, nil
		}
		// One that is shared, as of a token that others wait for too, stays as it is.
		own := *asFailure(ctx, e.base.Host, err)
		f := &own
		f.attempts = n
		e.breaker.record(f)
		if !f.again || n == maxTries || !e.breaker.ready() || !c.retries.spend(c.o.Now()) {
			return value, f
		}
		delay := retryDelay<<(n-1) + rand.N(retryDelay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return value, f
		}
		if _, ok := e.breaker.admit(); !ok {
			return value, f
		}
	}
}

// ask sends a query to an endpoint and does the authentication, and once more
// if the registry may redirect to something better. What it returns is the
// registry's answer, whatever its status, but for 401 and 429.
func (c *Client) ask(ctx context.Context, e *endpoint, q query) (*answer, error) {
	if left := e.hushed(q, c.o.Now()); left > 0 {
		return nil, &failure{
			class: oci.ClassRateLimited, status: http.StatusTooManyRequests, retryAfter: left, unasked: true,
			text: e.base.Host + " has asked for a pause that is not over",
		}
	}
	a, err := c.authenticated(ctx, e, q)
	if err == nil && q.method == http.MethodGet && a.isStale(q.kind) {
		a.drain()
		a, err = c.authenticated(ctx, e, q)
	}
	if err == nil {
		e.heed(a, c.o.Now())
		switch {
		case a.StatusCode == http.StatusTooManyRequests, a.StatusCode == http.StatusUnauthorized && !a.abroad:
			err = statusFailure(a, c.o.Now())
		default:
			return a, nil
		}
	}
	if f := asFailure(ctx, e.base.Host, err); f.class == oci.ClassRateLimited &&
		(q.kind != kindBlobs || !e.inflight.crowded(c.o.Now())) {
		e.hush(q.kind, c.o.Now().Add(f.retryAfter))
	}
	return nil, err
}

// authenticated sends a query with what is known to be needed, and once more if
// the registry challenges that.
func (c *Client) authenticated(ctx context.Context, e *endpoint, q query) (*answer, error) {
	k, done, err := e.learn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if k == nil && !c.o.Credentials.IsZero() {
		// Registries that also serve anybody may not challenge requests for what
		// they hide; the ping tells how to say who one is.
		if k, err = c.ping(ctx, e); err != nil {
			return nil, err
		}
		done()
	}
	o := outgoing{op: q.op, method: q.method, url: e.locate(q.repository, q.rest, q.params), header: q.header, stay: q.stay}
	var g grant
	if k != nil {
		if g, err = c.authorize(ctx, e, k, q.repository); err != nil {
			e.doubt(k, err)
			return nil, err
		}
	}
	o.authorization = g.header
	a, err := c.send(ctx, e, o)
	if err != nil {
		return nil, err
	}
	asked, refused := e.refusal(a, k, g, q.repository)
	if !refused {
		if k == nil && a.StatusCode != http.StatusUnauthorized {
			e.known.CompareAndSwap(nil, open())
		}
		return a, nil
	}
	e.known.Store(asked)
	done()
	g.drop()
	again, err := c.authorize(ctx, e, asked, q.repository)
	if err != nil || again.header == g.header {
		if err == nil {
			return a, nil
		}
		a.drain()
		e.doubt(asked, err)
		return nil, err
	}
	a.drain()
	o.authorization = again.header
	if a, err = c.send(ctx, e, o); err == nil && a.StatusCode == http.StatusUnauthorized {
		again.drop()
	}
	return a, err
}

// refusal reports whether an answer refuses the grant that it was asked with,
// and how the registry wants to be asked instead. The host behind a redirect
// has no say in that.
func (e *endpoint) refusal(a *answer, k *knowledge, g grant, repository string) (*knowledge, bool) {
	switch {
	case a.abroad:
		return nil, false
	case a.StatusCode == http.StatusUnauthorized:
		challenge, ok := parseChallenge(a.Header.Values("WWW-Authenticate"))
		if !ok {
			return k, k != nil && g.header != ""
		}
		return e.learnFrom(challenge, repository), true
	case a.StatusCode == http.StatusBadRequest && g.header != "" && k.challenge.Scheme == schemeBearer:
		// public.ecr.aws says so of a token that has expired.
		return k, a.hasCode("DENIED")
	}
	return nil, false
}

// doubt makes the next request ask for the challenge again if the token server
// that it names does not work: the registry may have moved it.
func (e *endpoint) doubt(k *knowledge, err error) {
	var f *failure
	if errors.As(err, &f) && (f.class == oci.ClassToken || f.class == oci.ClassForbidden) {
		e.known.CompareAndSwap(k, nil)
	}
}

// ping asks for the challenge alone.
func (c *Client) ping(ctx context.Context, e *endpoint) (*knowledge, error) {
	a, err := c.send(ctx, e, outgoing{op: opPing, method: http.MethodGet, url: e.ping})
	if err != nil {
		return nil, err
	}
	defer a.drain()
	k := open()
	if a.StatusCode == http.StatusUnauthorized && !a.abroad {
		if challenge, ok := parseChallenge(a.Header.Values("WWW-Authenticate")); ok {
			k = e.learnFrom(challenge, "")
		}
	}
	// Any other status than these two is no reason not to ask for content.
	if a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusOK {
		e.known.CompareAndSwap(nil, k)
	}
	return k, nil
}

// errorOf returns what callers get for a failure.
func (c *Client) errorOf(op operation, f *failure) *oci.Error {
	unknown := op.unknown
	if f.repositoryUnknown && op.op != opReferrers {
		unknown = oci.CodeNameUnknown
	}
	object := oci.Scope{Upstream: c.o.Name, Repository: op.repository}.String()
	message := fmt.Sprintf("%s %s%s: %s", op.verb, object, op.object, f.text)
	err := oci.UpstreamError(f.class, unknown, message, f.err)
	err.UpstreamStatus, err.RetryAfter = f.status, f.retryAfter
	return err
}
