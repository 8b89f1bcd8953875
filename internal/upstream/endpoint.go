package upstream

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// endpoint is one configured URL and what is known of the registry behind it.
type endpoint struct {
	origin origin
	// base is the URL below which the repositories lie, with a slash at the end;
	// ping is that of the version check; inner is what of the base's path the
	// registry takes for part of the repository's name.
	base, ping *url.URL
	inner      string

	// literal is the address that stands in the URL; zero = a name does.
	literal netip.Addr
	// source is who to be here.
	source Credentials

	// challenges is how the registry authenticates, and carriers who has said so.
	challenges challenges
	carriers   carriers
	// learning is held by the one request that finds out.
	learning chan struct{}
	// tokens are keyed by realm, service and scope; credentials has one entry.
	tokens      *memo[string]
	credentials *memo[authn.AuthConfig]
	// quiet are the pauses that rate limits ask for. Each kind has its own: registries count manifests, and a limit on those must not
	// stop downloads that are under way.
	// A limit that is used up but was not overrun is one on the GET of manifests.
	quiet   [kinds]pause
	usedUp  pause
	breaker *breaker
	// inflight counts GETs of blobs, slowness is how long the last one took to begin,
	// in nanoseconds, and pulse says that the registry answers the ping.
	inflight inflight
	slowness atomic.Int64
	pulse    *memo[struct{}]
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

// learnTimeout is how long requests hold back while another one finds out how
// to authenticate. It saves them a 401 each, so it is not worth more.
const learnTimeout = 2 * time.Second

func newEndpoint(u *url.URL, o Options) (*endpoint, error) {
	if err := checkURL(u); err != nil {
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
	return &endpoint{
		origin: originOf(u), inner: inner, literal: literalOf(u).Addr(), source: o.CredentialsFor(u),
		base: at(before + "/v2/" + inner), ping: at(before + "/v2/"),
		learning:    make(chan struct{}, 1),
		tokens:      newMemo[string](o.Timeouts.Token, o.Now),
		credentials: newMemo[authn.AuthConfig](o.Timeouts.Token, o.Now),
		pulse:       newMemo[struct{}](o.Timeouts.Operation, o.Now),
		breaker:     &breaker{max: max(o.MaxFails, 0), rest: o.FailDuration, now: o.Now, url: originOf(u).String()},
	}, nil
}

// leader returns who leads somewhere by what came over a connection from an address.
func (e *endpoint) leader(from netip.AddrPort) leader {
	return leader{from: from, literal: e.literal}
}

// locate returns the URL of something below a repository. Repository and rest
// are made of characters that stand for themselves in a path.
func (e *endpoint) locate(repository, rest string, query url.Values) *url.URL {
	u := *e.base
	u.Path += repository + "/" + rest
	u.RawQuery = query.Encode()
	return &u
}

// hush keeps operations of a kind quiet for a while after a 429.
func (e *endpoint) hush(of kind, now time.Time, last time.Duration) { e.quiet[of].begin(now, last) }

// hushed returns how long a request still has to keep quiet.
func (e *endpoint) hushed(of kind, op string, now time.Time) time.Duration {
	left := e.quiet[of].left(now)
	if op == opGetManifest {
		left = max(left, e.usedUp.left(now))
	}
	return left
}

// heed notes what an answer tells of the limit on manifests. Where nothing is
// left of it, the next GET would be refused, and prolong that with some.
func (e *endpoint) heed(a *answer, now time.Time) {
	if a.abroad {
		return
	}
	if last, ok := usedUp(a.Header, now); ok {
		e.usedUp.begin(now, last)
	}
}

// learn returns how to begin with a repository. If nothing is known of the
// registry, known is false, and one caller at a time finds out and calls done when
// it has or could not; done may be called more than once.
func (e *endpoint) learn(ctx context.Context, repository string) (way challenge, known bool, done func(), err error) {
	if way, known = e.challenges.of(repository); known {
		return way, true, func() {}, nil
	}
	timer := time.NewTimer(learnTimeout)
	defer timer.Stop()
	select {
	case e.learning <- struct{}{}:
	case <-timer.C:
		way, known = e.challenges.of(repository)
		return way, known, func() {}, nil
	case <-ctx.Done():
		return way, false, nil, asFailure(ctx, e.base.Host, ctx.Err())
	}
	done = sync.OnceFunc(func() { <-e.learning })
	if way, known = e.challenges.of(repository); known {
		done()
	}
	return way, known, done, nil
}
