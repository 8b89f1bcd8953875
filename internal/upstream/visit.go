package upstream

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pullgate/pullgate/internal/oci"
)

// visit is one operation at one endpoint, with all its tries. It is for one
// goroutine.
type visit struct {
	c *Client
	e *endpoint
	operation
	lease *lease // nil = as a part of another operation

	session *session
	// headed says that HEAD has told what it can.
	headed bool
}

func (c *Client) visit(e *endpoint, op operation, l *lease) *visit {
	return &visit{c: c, e: e, operation: op, lease: l, session: e.registry.session(op.repository)}
}

// outgoing returns a request for something below the repository; rest is its path.
func (v *visit) outgoing(op, method, rest string, params url.Values, header http.Header) outgoing {
	return outgoing{op: op, method: method, url: v.e.locate(v.repository, rest, params), header: header}
}

// ask sends a request and does the authentication, and once more if the registry
// may redirect to something better. What it returns is the registry's answer,
// whatever its status, except 401 and 429.
func (v *visit) ask(ctx context.Context, o outgoing) (*answer, error) {
	e, now := v.e, v.c.o.Now
	if left := e.hushed(v.kind, v.repository, o.op, now()); left > 0 {
		return nil, &failure{
			class: oci.ClassRateLimited, status: http.StatusTooManyRequests, retryAfter: left, unasked: true,
			text: limits(e.base.Host, now().Add(left)),
		}
	}
	a, err := v.session.do(ctx, o)
	if err == nil && o.method == http.MethodGet && isStale(a, v.kind) {
		a.drain()
		a, err = v.session.do(ctx, o)
	}
	if err == nil && a.abroad && a.StatusCode == http.StatusUnauthorized {
		a, err = v.session.abroad(ctx, o, a)
	}
	if err == nil {
		e.heed(a, now())
		switch {
		case a.StatusCode == http.StatusTooManyRequests, a.StatusCode == http.StatusUnauthorized && !a.abroad:
			err = v.session.statusFailure(a)
		default:
			return a, nil
		}
	}
	// Where a list of referrers is redirected to, and what is one blob too many at a
	// time, says nothing of the rest.
	f := asFailure(ctx, e.base.Host, err)
	passes := f.abroad && o.op == opReferrers || v.kind == blobs && e.inflight.crowded(now())
	if f.class == oci.ClassRateLimited && !passes {
		e.hush(v.kind, v.repository, now(), f.retryAfter)
	}
	return nil, err
}

// isStale reports whether an answer to a GET may be due to the redirect that led
// to it. The URL that a registry redirects to is good for a while only and for
// what it was signed for, and it may name a replica that does not have
// everything yet; the registry can give a better one.
func isStale(a *answer, of kind) bool {
	if !a.abroad {
		return false
	}
	switch a.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return !a.settles() || a.hasCode(string(oci.CodeBlobUnknown))
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return of == blobs
	}
	return false
}
