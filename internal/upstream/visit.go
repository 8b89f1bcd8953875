package upstream

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// visit is one operation at one endpoint, with all its tries. It is for one
// goroutine.
type visit struct {
	c *Client
	e *endpoint
	operation
	lease *lease // nil = as a part of another operation

	// unfit are the challenges for which there was no token.
	unfit map[challenge]*failure
	// offered are what the registry has asked this repository for, and pinged what
	// it asks of a ping, once that was sent.
	offered, pinged []challenge
	hasPinged       bool
	// fresh are the headers with tokens that are no older than the visit.
	fresh map[string]bool
	// identified says that the upstream's credentials were sent; withheld names the
	// token server that did not get them.
	identified bool
	withheld   string
	// headed says that HEAD has told what it can.
	headed bool
}

func (c *Client) visit(e *endpoint, op operation, l *lease) *visit {
	return &visit{c: c, e: e, operation: op, lease: l, unfit: map[challenge]*failure{}, fresh: map[string]bool{}}
}

// query is one request of a visit.
type query struct {
	op     string // as Observation.Op names it
	method string
	rest   string // the path below the repository
	params url.Values
	header http.Header
	stay   bool
}

// ask sends a query and does the authentication, and once more if the registry
// may redirect to something better. What it returns is the registry's answer,
// whatever its status, except 401 and 429.
func (v *visit) ask(ctx context.Context, q query) (*answer, error) {
	e, now := v.e, v.c.o.Now
	if left := e.hushed(v.kind, q.op, now()); left > 0 {
		return nil, &failure{
			class: oci.ClassRateLimited, status: http.StatusTooManyRequests, retryAfter: left, unasked: true,
			text: limits(e.base.Host, now().Add(left)),
		}
	}
	a, err := v.authenticated(ctx, q)
	if err == nil && q.method == http.MethodGet && a.isStale(v.kind) {
		a.drain()
		a, err = v.authenticated(ctx, q)
	}
	if err == nil && a.abroad && a.StatusCode == http.StatusUnauthorized {
		a, err = v.authenticatedAbroad(ctx, q, a)
	}
	if err == nil {
		e.heed(a, now())
		switch {
		case a.StatusCode == http.StatusTooManyRequests, a.StatusCode == http.StatusUnauthorized && !a.abroad:
			err = v.statusFailure(a)
		default:
			return a, nil
		}
	}
	// Where a list of referrers is redirected to, and what is one blob too many at a
	// time, says nothing of the rest.
	f := asFailure(ctx, e.base.Host, err)
	passes := f.abroad && q.op == opReferrers || v.kind == blobs && e.inflight.crowded(now())
	if f.class == oci.ClassRateLimited && !passes {
		e.hush(v.kind, now(), f.retryAfter)
	}
	return nil, err
}

// again prepares for another try.
func (v *visit) again() { clear(v.unfit) }

// statusFailure is what an unexpected status means. It closes the answer.
func (v *visit) statusFailure(a *answer) *failure {
	f := statusFailure(a, v.c.o.Now())
	if a.abroad {
		f.text = a.url.Host + ", where " + v.e.base.Host + " leads to," + strings.TrimPrefix(f.text, a.url.Host)
	}
	switch f.class {
	case oci.ClassRateLimited:
		f.text = limits(a.url.Host, v.c.o.Now().Add(f.retryAfter))
	case oci.ClassDenied:
		f.text += v.refusal()
	}
	return f
}

// limits tells until when a host asks for a pause.
func limits(host string, until time.Time) string {
	return host + " limits pulls until " + until.Format(time.TimeOnly)
}

// refusal tells what a person can do about access that is denied, if that is known.
func (v *visit) refusal() string {
	switch {
	case v.identified:
		return ": it refused the user and password of `credentials`"
	case v.withheld != "":
		return ": its `credentials` were not sent to the token server " + v.withheld +
			", which is another origin; `auth_origin " + v.withheld + "` allows that"
	case v.e.source.IsZero() && !v.c.o.Credentials.IsZero():
		return ": the `credentials` of the upstream are for " + originOf(v.c.o.chief()).String() +
			"; those in a block of `url` are for that URL"
	}
	return ""
}
