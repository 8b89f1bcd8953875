package upstream

import (
	"context"
	"net/http"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
)

// maxRounds bounds the requests that an authentication takes.
const maxRounds = 6

// dialogue is one query and what the registry wants for it.
type dialogue struct {
	*visit

	// tried are the ways that the registry has refused for this query, and sent what
	// they have led to.
	tried map[challenge]bool
	sent  map[challenge]string
}

// authenticated sends a query with what the registry is known to want, and, where
// that is refused, with what it asks for instead. It ends where a client that
// knows nothing would end: whatever was remembered, a refusal is final only once
// the registry has refused this repository what it asked for itself.
func (v *visit) authenticated(ctx context.Context, q query) (*answer, error) {
	ways, done, err := v.ways(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	d := dialogue{v, map[challenge]bool{}, map[challenge]string{}}
	var (
		last   *answer  // that refused
		failed *failure // to get a grant
		denied *failure // although there was one
	)
	for range maxRounds {
		way, ok := d.next(ways)
		if !ok {
			break
		}
		g, err := d.grant(ctx, way)
		switch {
		case err != nil:
			failed = asFailure(ctx, v.e.base.Host, err)
			v.unfit[way] = failed
			ways = d.after(ctx, way, ways, nil)
			if !failed.isRefusal() {
				ways = nil
			}
			continue
		case d.tried[way]: // nobody to be, or nobody else
			ways = d.after(ctx, way, ways, nil)
			continue
		}
		if last != nil && way.scheme == schemeNone {
			denied = v.statusFailure(last) // which says more than what comes without a grant
		} else if last != nil {
			last.drain()
		}
		last, err = v.c.send(ctx, v.e, v.outgoing(q, g.header))
		if err != nil {
			return nil, err
		}
		if !refused(last, way) {
			v.accepted(last, way)
			return last, nil
		}
		failed = nil
		d.tried[way] = !g.drop()
		ways = d.after(ctx, way, ways, last)
	}
	if last == nil && (failed == nil || failed.isRefusal()) {
		// Nothing that the registry wants can be had, but it has the last word.
		if last, err = v.c.send(ctx, v.e, v.outgoing(q, "")); err != nil {
			return nil, err
		}
		if !refused(last, challenge{}) {
			v.accepted(last, challenge{})
			return last, nil
		}
	}
	if failed == nil && denied != nil {
		failed = denied
	}
	return v.refusedBy(last, failed)
}

// refusedBy returns what tells the most about a refusal: why there was no token, or
// the registry's answer.
func (v *visit) refusedBy(last *answer, failed *failure) (*answer, error) {
	if failed == nil {
		failed = v.why(last)
	}
	if failed == nil {
		return last, nil
	}
	if last != nil {
		last.drain()
	}
	return nil, failed
}

func (v *visit) outgoing(q query, authorization string) outgoing {
	return outgoing{
		op: q.op, method: q.method, url: v.e.locate(v.repository, q.rest, q.params), header: q.header, stay: q.stay,
		authorization: authorization,
	}
}

// ways returns what to begin with. done is to be called at the end: as long as
// nothing is known of the registry, one visit at a time finds out.
func (v *visit) ways(ctx context.Context) (ways []challenge, done func(), err error) {
	if len(v.offered) > 0 {
		return v.offered, func() {}, nil
	}
	way, known, done, err := v.e.learn(ctx, v.repository)
	if err != nil {
		return nil, nil, err
	}
	if known || v.e.source.IsZero() {
		return []challenge{way}, done, nil
	}
	// Registries that also serve anybody may not challenge requests for what
	// they hide; the ping tells how to say who one is.
	if ways, err = v.ping(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return append(ways, challenge{}), done, nil
}

// grant gets what a way leads to. Where that was sent before, or is nothing, the way
// counts as tried.
func (d dialogue) grant(ctx context.Context, way challenge) (grant, error) {
	g, err := d.authorize(ctx, way)
	if err == nil && way.scheme != schemeNone && (g.header == "" || d.sent[way] == g.header) {
		d.tried[way] = true
	}
	d.sent[way] = g.header
	return g, err
}

// next returns the first of the ways that may lead on.
func (d dialogue) next(ways []challenge) (challenge, bool) {
	for _, way := range ways {
		if !d.tried[way] && d.unfit[way] == nil {
			return way, true
		}
	}
	return challenge{}, false
}

// after returns what may be tried after a way: what the registry asks for in its
// answer; without such, going bare, for the registry to ask then; at last, what it
// asks of a ping.
func (d dialogue) after(ctx context.Context, way challenge, ways []challenge, a *answer) []challenge {
	if a != nil {
		if offered := offeredFor(d.e.inner+d.repository, a); len(offered) > 0 {
			d.e.carriers.note(offered, a.from)
			d.offered = offered // with that which was just refused, if its token was an old one
			return offered
		}
	}
	switch _, more := d.next(ways); {
	case more:
		return ways
	case a == nil && slices.Contains(d.offered, way):
		return nil // which would be asked for again
	case !d.tried[challenge{}]:
		return []challenge{{}}
	case a == nil || way.scheme != schemeNone:
		return nil
	}
	offered, err := d.ping(ctx)
	if err != nil {
		return nil // the answer to what was asked counts
	}
	return offered
}

// why returns the failure that explains a refusal: of what the registry has asked
// for, nothing could be had. nil = the answer tells it.
func (v *visit) why(a *answer) *failure {
	if a == nil {
		return &failure{class: oci.ClassDenied, text: v.e.base.Host + " wants credentials: give the upstream `credentials`"}
	}
	for _, offered := range offeredFor(v.e.inner+v.repository, a) {
		if f := v.unfit[offered]; f != nil {
			return f
		}
	}
	return nil
}

// refused reports whether an answer refuses what it was asked with. The host
// behind a redirect has no say in that.
func refused(a *answer, way challenge) bool {
	switch {
	case a.abroad:
		return false
	case a.StatusCode == http.StatusUnauthorized, a.StatusCode == http.StatusForbidden:
		return true
	case a.StatusCode == http.StatusBadRequest && way.scheme == schemeBearer:
		// public.ecr.aws says so of a token that has expired.
		return a.hasCode("DENIED")
	}
	return false
}

// accepted learns from an answer. What failed for other reasons tells nothing.
func (v *visit) accepted(a *answer, way challenge) {
	if a.StatusCode < http.StatusInternalServerError && a.StatusCode != http.StatusTooManyRequests {
		v.e.challenges.learn(v.repository, way)
	}
}

// ping asks for the challenges of the registry as a whole, once a visit.
func (v *visit) ping(ctx context.Context) ([]challenge, error) {
	if v.hasPinged {
		return v.pinged, nil
	}
	a, err := v.c.send(ctx, v.e, outgoing{op: opPing, method: http.MethodGet, url: v.e.ping})
	if err != nil {
		return nil, err
	}
	defer a.drain()
	v.hasPinged = true
	// A challenge beside another status, such as the 200 of zot and Quay, need not
	// be answered, but can be.
	if !a.abroad {
		v.pinged = offeredForPing(a)
		v.e.carriers.note(v.pinged, a.from)
	}
	return v.pinged, nil
}
