package auth

import (
	"context"
	"net/http"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// maxRounds bounds the requests that an authentication takes.
const maxRounds = 6

// dialogue is one request and what the registry wants for it.
type dialogue struct {
	*Session

	// tried are the ways that the registry has refused for this request, and sent what
	// they have led to.
	tried map[challenge]bool
	sent  map[challenge]string
}

// Do sends a request with what the registry is known to want, and, where
// that is refused, with what it asks for instead. It ends where a client that
// knows nothing would end: whatever was remembered, a refusal is final only once
// the registry has refused this repository what it asked for itself.
func (s *Session) Do(ctx context.Context, o wire.Request) (*wire.Answer, error) {
	ways, done, err := s.ways(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	d := dialogue{s, map[challenge]bool{}, map[challenge]string{}}
	var (
		last   *wire.Answer  // that refused
		failed *wire.Failure // to get a grant
		denied *wire.Failure // although there was one
	)
	for range maxRounds {
		way, ok := d.next(ways)
		if !ok {
			break
		}
		g, err := d.grant(ctx, way)
		switch {
		case err != nil:
			failed = wire.AsFailure(ctx, s.r.base.Host, err)
			s.unfit[way] = failed
			ways = d.after(ctx, way, ways, nil)
			if !failed.IsRefusal() {
				ways = nil
			}
			continue
		case d.tried[way]: // nobody to be, or nobody else
			ways = d.after(ctx, way, ways, nil)
			continue
		}
		if last != nil && way.scheme == schemeNone {
			denied = s.StatusFailure(last) // which says more than what comes without a grant
		} else if last != nil {
			last.Drain()
		}
		last, err = s.r.sender.Send(ctx, o.As(g.header))
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
	if last == nil && (failed == nil || failed.IsRefusal()) {
		// Nothing that the registry wants can be had, but it has the last word.
		if last, err = s.r.sender.Send(ctx, o); err != nil {
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
func (s *Session) refusedBy(last *wire.Answer, failed *wire.Failure) (*wire.Answer, error) {
	if failed == nil {
		failed = s.why(last)
	}
	if failed == nil {
		return last, nil
	}
	if last != nil {
		last.Drain()
	}
	return nil, failed
}

// ways returns what to begin with. done is to be called at the end: as long as
// nothing is known of the registry, one session at a time finds out.
func (s *Session) ways(ctx context.Context) (ways []challenge, done func(), err error) {
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
func (d dialogue) after(ctx context.Context, way challenge, ways []challenge, a *wire.Answer) []challenge {
	if a != nil {
		if offered := offeredFor(d.r.inner+d.repository, a); len(offered) > 0 {
			d.r.carriers.note(offered, a.From)
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
func (s *Session) why(a *wire.Answer) *wire.Failure {
	if a == nil {
		return &wire.Failure{Class: oci.ClassDenied, Text: s.r.base.Host + " wants credentials: give the upstream `credentials`"}
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
func refused(a *wire.Answer, way challenge) bool {
	switch {
	case a.Abroad:
		return false
	case a.StatusCode == http.StatusUnauthorized, a.StatusCode == http.StatusForbidden:
		return true
	case a.StatusCode == http.StatusBadRequest && way.scheme == schemeBearer:
		// public.ecr.aws says so of a token that has expired.
		return a.HasCode("DENIED")
	}
	return false
}

// accepted learns from an answer. What failed for other reasons tells nothing.
func (s *Session) accepted(a *wire.Answer, way challenge) {
	if a.StatusCode < http.StatusInternalServerError && a.StatusCode != http.StatusTooManyRequests {
		s.r.challenges.learn(s.repository, way)
	}
}

// ping asks for the challenges of the registry as a whole, once a session.
func (s *Session) ping(ctx context.Context) ([]challenge, error) {
	if s.hasPinged {
		return s.pinged, nil
	}
	a, err := s.r.askPing(ctx)
	if err != nil {
		return nil, err
	}
	defer a.Drain()
	s.hasPinged = true
	// A challenge beside another status, such as the 200 of zot and Quay, need not
	// be answered, but can be.
	if !a.Abroad {
		s.pinged = offeredForPing(a)
		s.r.carriers.note(s.pinged, a.From)
	}
	return s.pinged, nil
}

func (r *Registry) askPing(ctx context.Context) (*wire.Answer, error) {
	return r.sender.Send(ctx, wire.Request{Op: wire.OpPing, Method: http.MethodGet, URL: r.ping})
}

// Ping returns the status that the registry answers a version check with, without credentials.
func (r *Registry) Ping(ctx context.Context) (status int, err error) {
	a, err := r.askPing(ctx)
	if err != nil {
		return 0, err
	}
	a.Drain()
	return a.StatusCode, nil
}
