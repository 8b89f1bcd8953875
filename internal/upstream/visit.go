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

	// spent are the challenges that need not be answered once more: the registry
	// has refused what they led to (nil), or they led to nothing.
	spent map[challenge]*failure
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
	return &visit{c: c, e: e, operation: op, lease: l, spent: map[challenge]*failure{}, fresh: map[string]bool{}}
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
// whatever its status, but for 401 and 429.
func (v *visit) ask(ctx context.Context, q query) (*answer, error) {
	e, now := v.e, v.c.o.Now
	if left := e.hushed(v.kind, q.op, now()); left > 0 {
		return nil, &failure{
			class: oci.ClassRateLimited, status: http.StatusTooManyRequests, retryAfter: left, unasked: true,
			text: e.base.Host + " limits pulls until " + now().Add(left).Format(time.TimeOnly),
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
	if f := asFailure(ctx, e.base.Host, err); f.class == oci.ClassRateLimited {
		e.hush(v.kind, now().Add(f.retryAfter))
	}
	return nil, err
}

// maxRounds bounds the requests that an authentication takes.
const maxRounds = 6

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
	var (
		last   *answer  // that refused
		failed *failure // to get a grant
		sent   = map[challenge]string{}
	)
	for range maxRounds {
		way, ok := v.next(ways)
		if !ok {
			break
		}
		g, err := v.authorize(ctx, way)
		if err != nil {
			failed = asFailure(ctx, v.e.base.Host, err)
			v.spent[way] = failed
			if !failed.isRefusal() {
				break
			}
			ways = v.after(ctx, way, ways, nil)
			continue
		}
		if before, again := sent[way]; way.scheme != schemeNone && (g.header == "" || again && before == g.header) {
			v.spent[way] = nil // nobody to be, or nobody else
			ways = v.after(ctx, way, ways, nil)
			continue
		}
		sent[way] = g.header
		if last != nil {
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
		if !g.drop() {
			v.spent[way] = nil
		}
		ways = v.after(ctx, way, ways, last)
	}
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
		if _, ok := v.next(v.offered); ok {
			return v.offered, func() {}, nil
		}
		delete(v.spent, challenge{}) // there is no token, but the registry has the last word
		return []challenge{{}}, func() {}, nil
	}
	way, known, done, err := v.e.learn(ctx, v.repository)
	if err != nil {
		return nil, nil, err
	}
	if known || v.c.o.Credentials.IsZero() {
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

// next returns the first of the ways that may lead on.
func (v *visit) next(ways []challenge) (challenge, bool) {
	for _, way := range ways {
		if _, spent := v.spent[way]; !spent {
			return way, true
		}
	}
	return challenge{}, false
}

// after returns what may be tried after a way: what the registry asks for in its
// answer; without such, going bare, for the registry to ask then; at last, what it
// asks of a ping.
func (v *visit) after(ctx context.Context, way challenge, ways []challenge, a *answer) []challenge {
	if a != nil {
		if offered := offeredFor(v.e.inner+v.repository, a); len(offered) > 0 {
			v.offered = offered // with that which was just refused, if its token was an old one
			return offered
		}
	}
	if _, more := v.next(ways); more && (a == nil || way.scheme != schemeNone) {
		return ways
	}
	if _, spent := v.spent[challenge{}]; !spent {
		return []challenge{{}}
	}
	if a == nil || way.scheme != schemeNone {
		return nil
	}
	offered, err := v.ping(ctx)
	if err != nil {
		return nil // the answer to what was asked counts
	}
	return offered
}

// why returns the failure that explains a refusal: of what the registry has asked
// for, nothing could be had. nil = the answer tells it.
func (v *visit) why(a *answer) *failure {
	if a == nil {
		return &failure{class: oci.ClassDenied, text: v.e.base.Host + " wants credentials"}
	}
	for _, offered := range offeredFor(v.e.inner+v.repository, a) {
		if f := v.spent[offered]; f != nil {
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
	}
	return v.pinged, nil
}

// again prepares for another try.
func (v *visit) again() { clear(v.spent) }

// insist prepares for a GET after a HEAD that was refused: the refusal does not
// count for it, but what led to no token for the one leads to none for the other.
func (v *visit) insist() {
	for way, f := range v.spent {
		if f == nil {
			delete(v.spent, way)
		}
	}
}

// statusFailure is what an unexpected status means. It closes the answer.
func (v *visit) statusFailure(a *answer) *failure {
	f := statusFailure(a, v.c.o.Now())
	if a.abroad {
		f.text = a.url.Host + ", where " + v.e.base.Host + " leads to," + strings.TrimPrefix(f.text, a.url.Host)
	}
	if f.class != oci.ClassDenied {
		return f
	}
	switch {
	case v.identified:
		f.text += ": it refused the user and password of `credentials`"
	case v.withheld != "":
		f.text += ": " + v.withholding()
	}
	return f
}

// withholding tells why credentials were not sent.
func (v *visit) withholding() string {
	return "its `credentials` were not sent to the token server " + v.withheld + ", which is another origin; `auth_origin " +
		v.withheld + "` allows that"
}
