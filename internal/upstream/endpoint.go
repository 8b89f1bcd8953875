package upstream

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/auth"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/memo"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// endpoint is one configured URL and what is known of the registry behind it.
type endpoint struct {
	registry *auth.Registry
	// base is the URL below which the repositories lie, with a slash at the end.
	base *url.URL

	// pauses are those that rate limits ask for. Each kind has its own: registries count
	// manifests, and a limit on those must not
	// stop downloads that are under way.
	// A limit that is used up but was not overrun is one on the GET of manifests.
	pauses  [kinds]limit
	usedUp  pause
	breaker *breaker
	health  health
	// inflight counts GETs of blobs, and pulse says that the registry answers the ping.
	inflight inflight
	pulse    *memo.Memo[struct{}]
	// down is while other URLs are tried first.
	down pause
	// headless is while HEAD is not asked for: the registry has refused it for what it
	// gave on GET.
	headless [kinds]pause
}

// downFor is how long a URL comes last after it could not be reached.
const downFor = 10 * time.Second

// inOrder returns the endpoints as configured, but those last that could not be
// reached a moment ago: a first URL that swallows packets would cost every
// operation half of its time.
func (c *Client) inOrder() []*endpoint {
	if len(c.endpoints) == 1 {
		return c.endpoints
	}
	now := c.o.Now()
	ordered := slices.Clone(c.endpoints)
	slices.SortStableFunc(ordered, func(a, b *endpoint) int {
		down := func(e *endpoint) int {
			if e.down.left(now) > 0 {
				return 1
			}
			return 0
		}
		return down(a) - down(b)
	})
	return ordered
}

func newEndpoint(u *url.URL, o Options, n *wire.Client, authOrigins []egress.Origin) (*endpoint, error) {
	if err := egress.CheckURL(u); err != nil {
		return nil, fmt.Errorf("URL of upstream %s: %w", o.Name, err)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("URL of upstream %s: it has a query or a fragment", o.Name)
	}
	path := strings.TrimSuffix(u.Path, "/") + "/"
	before, inner, hasVersion := strings.Cut(path, "/v2/")
	if !hasVersion {
		before, inner = strings.TrimSuffix(path, "/"), ""
	}
	at := func(path string) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path} }
	r := auth.Options{
		Base: at(before + "/v2/" + inner), Ping: at(before + "/v2/"), Inner: inner,
		Origins: authOrigins, Timeout: o.Timeouts.Token, Now: o.Now,
	}
	if own := o.CredentialsFor(u); !own.IsZero() {
		r.Source = own.login
	} else if !o.Credentials.IsZero() {
		r.Elsewhere = egress.OriginOf(o.chief()).String()
	}
	s := wire.NewSender(n, u)
	return &endpoint{
		registry: auth.New(s, r), base: r.Base,
		pulse:   memo.New[struct{}](o.Timeouts.Operation, o.Now),
		breaker: &breaker{max: max(o.MaxFails, 0), rest: o.FailDuration, now: o.Now, url: s.Origin.String()},
	}, nil
}

// locate returns the URL of something below a repository. Repository and rest
// are made of characters that stand for themselves in a path.
func (e *endpoint) locate(repository, rest string, query url.Values) *url.URL {
	u := *e.base
	u.Path += repository + "/" + rest
	u.RawQuery = query.Encode()
	return &u
}

// pauseKind keeps operations of a kind quiet for a while after a 429.
func (e *endpoint) pauseKind(of kind, repository string, now time.Time, last time.Duration) {
	e.pauses[of].begin(repository, now, last)
}

// paused returns how long a request still has to keep quiet.
func (e *endpoint) paused(of kind, repository, op string, now time.Time) time.Duration {
	left := e.pauses[of].left(repository, now)
	if op == wire.OpGetManifest {
		left = max(left, e.usedUp.left(now))
	}
	return left
}

// noteLimit notes what an answer tells of the limit on manifests. Where nothing is
// left of it, the next GET would be refused, and prolong that with some.
func (e *endpoint) noteLimit(a *wire.Answer, now time.Time) {
	if a.Abroad {
		return
	}
	l, ok := wire.ReadRateLimit(a.Header, now)
	if !ok {
		return
	}
	e.health.heed(l)
	if l.Remaining == 0 {
		e.usedUp.begin(now, l.Pause(now))
	}
}
