package upstream

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/auth"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// visit is one operation at one endpoint, with all its tries. It is for one
// goroutine.
type visit struct {
	c *Client
	e *endpoint
	operation
	lease *lease // nil = as a part of another operation

	session *auth.Session
	// headed says that HEAD has told what it can.
	headed bool
}

func (c *Client) visit(e *endpoint, op operation, l *lease) *visit {
	return &visit{c: c, e: e, operation: op, lease: l, session: e.registry.Session(op.repository)}
}

// outgoing returns a request for something below the repository; rest is its path.
func (v *visit) outgoing(op, method, rest string, params url.Values, header http.Header) wire.Request {
	return wire.Request{Op: op, Method: method, Repository: v.repository, URL: v.e.locate(v.repository, rest, params), Header: header}
}

// ask sends a request and does the authentication, and once more if the registry
// may redirect to something better. What it returns is the registry's answer,
// whatever its status, except 401 and 429.
func (v *visit) ask(ctx context.Context, o wire.Request) (*wire.Answer, error) {
	e, now := v.e, v.c.o.Now
	if left := e.paused(v.kind, v.repository, o.Op, now()); left > 0 {
		return nil, &wire.Failure{
			Class: oci.ClassRateLimited, Status: http.StatusTooManyRequests, RetryAfter: left, Unasked: true,
			Text: wire.Limits(e.base.Host, now().Add(left)),
		}
	}
	a, err := v.session.Do(ctx, o)
	if err == nil && o.Method == http.MethodGet && isStale(a, v.kind) {
		a.Drain()
		a, err = v.session.Do(ctx, o)
	}
	if err == nil && a.Abroad && a.StatusCode == http.StatusUnauthorized {
		a, err = v.session.Abroad(ctx, o, a)
	}
	if err == nil {
		e.noteLimit(a, now())
		switch {
		case a.StatusCode == http.StatusTooManyRequests, a.StatusCode == http.StatusUnauthorized && !a.Abroad:
			err = v.session.StatusFailure(a)
		default:
			return a, nil
		}
	}
	// Where a list of referrers is redirected to, and what is one blob too many at a
	// time, says nothing of the rest.
	f := wire.AsFailure(ctx, e.base.Host, err)
	passes := f.Abroad && o.Op == wire.OpReferrers || v.kind == blobs && e.inflight.crowded(now())
	if f.Class == oci.ClassRateLimited && !passes {
		e.pauseKind(v.kind, v.repository, now(), f.RetryAfter)
	}
	return nil, err
}

// isStale reports whether an answer to a GET may be due to the redirect that led
// to it. The URL that a registry redirects to is good for a while only and for
// what it was signed for, and it may name a replica that does not have
// everything yet; the registry can give a better one.
func isStale(a *wire.Answer, of kind) bool {
	if !a.Abroad {
		return false
	}
	switch a.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return !a.Settles() || a.HasCode(string(oci.CodeBlobUnknown))
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return of == blobs
	}
	return false
}
