package upstream

import (
	"context"
	"net/http"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
)

// maxRounds bounds the requests that an authentication takes.
const maxRounds = 6

// dialogue is one request and what the registry wants for it.
type dialogue struct {
	*session

	// tried are the ways that the registry has refused for this request, and sent what
	// they have led to.
	tried map[challenge]bool
	sent  map[challenge]string
}

// do sends a request with what the registry is known to want, and, where
// that is refused, with what it asks for instead. It ends where a client that
// knows nothing would end: whatever was remembered, a refusal is final only once
// the registry has refused this repository what it asked for itself.
func (s *session) do(ctx context.Context, o outgoing) (*answer, error) {
	ways, done, err := s.ways(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	d := dialogue{s, map[challenge]bool{}, map[challenge]string{}}
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
			failed = asFailure(ctx, s.r.base.Host, err)
			s.unfit[way] = failed
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
			denied = s.statusFailure(last) // which says more than what comes without a grant
		} else if last != nil {
			last.drain()
		}
		last, err = s.r.sender.send(ctx, o.as(g.header))
		if err != nil {
			return nil, err
		}
		if !refused(last, way) {
			s.accepted(last, way)
			return last, nil
		}
		failed = nil
		d.tried[way] = !g.drop()
		ways = d.after(ctx, way, ways, last)
	}
	if last == nil && (failed == nil || failed.isRefusal()) {
		// Nothing that the registry wants can be had, but it has the last word.
		if last, err = s.r.sender.send(ctx, o); err != nil {
			return nil, err
		}
		if !refused(last, challenge{}) {
			s.accepted(last, challenge{})
			return last, nil
		}
	}
	if failed == nil && denied != nil {
		failed = denied
	}
	return s.refusedBy(last, failed)
}

// refusedBy returns what tells the most about a refusal: why there was no token, or
// the registry's answer.
func (s *session) refusedBy(last *answer, failed *failure) (*answer, error) {
	if failed == nil {
		failed = s.why(last)
	}
	if failed == nil {
		return last, nil
	}
	if last != nil {
		last.drain()
	}
	return nil, failed
}

// ways returns what to begin with. done is to be called at the end: as long as
// nothing is known of the registry, one session at a time finds out.
func (s *session) ways(ctx context.Context) (ways []challenge, done func(), err error) {
	if len(s.offered) > 0 {
		return s.offered, func() {}, nil
	}
	way, known, done, err := s.r.learn(ctx, s.repository)
	if err != nil {
		return nil, nil, err
	}
	if known || s.r.source == nil {
		return []challenge{way}, done, nil
	}
	// Registries that also serve anybody may not challenge requests for what
	// they hide; the ping tells how to say who one is.
	if ways, err = s.ping(ctx); err != nil {
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
		if offered := offeredFor(d.r.inner+d.repository, a); len(offered) > 0 {
			d.r.carriers.note(offered, a.from)
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
func (s *session) why(a *answer) *failure {
	if a == nil {
		return &failure{class: oci.ClassDenied, text: s.r.base.Host + " wants credentials"}
	}
	for _, offered := range offeredFor(s.r.inner+s.repository, a) {
		if f := s.unfit[offered]; f != nil {
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
func (s *session) accepted(a *answer, way challenge) {
	if a.StatusCode < http.StatusInternalServerError && a.StatusCode != http.StatusTooManyRequests {
		s.r.challenges.learn(s.repository, way)
	}
}

// ping asks for the challenges of the registry as a whole, once a session.
func (s *session) ping(ctx context.Context) ([]challenge, error) {
	if s.hasPinged {
		return s.pinged, nil
	}
	a, err := s.r.sender.send(ctx, outgoing{op: opPing, method: http.MethodGet, url: s.r.ping})
	if err != nil {
		return nil, err
	}
	defer a.drain()
	s.hasPinged = true
	// A challenge beside another status, such as the 200 of zot and Quay, need not
	// be answered, but can be.
	if !a.abroad {
		s.pinged = offeredForPing(a)
		s.r.carriers.note(s.pinged, a.from)
	}
	return s.pinged, nil
}
