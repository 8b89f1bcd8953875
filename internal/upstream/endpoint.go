package upstream

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pullgate/pullgate/internal/oci"
)

// endpoint is one configured URL and what is known of the registry behind it.
type endpoint struct {
	origin origin
	// base is the URL below which the repositories lie, with a slash at the end;
	// ping is that of the version check; inner is what of the base's path the
	// registry takes for part of the repository's name.
	base, ping *url.URL
	inner      string

	// known is how the registry authenticates; nil = nobody has asked yet.
	known atomic.Pointer[knowledge]
	// learning is held by the one request that finds out.
	learning chan struct{}
	// tokens are keyed by realm, service and scope; credentials has one entry.
	tokens      *memo[string]
	credentials *memo[authn.AuthConfig]
	// quiet are the times, in Unix nanoseconds, up to which a rate limit holds.
	// Blobs have their own: registries count manifests, and a limit on those
	// must not stop downloads that are under way.
	// A limit that is used up but was not overrun is one on the GET of manifests.
	quietMetadata, quietBlobs, usedUp atomic.Int64
	breaker                           *breaker
	inflight                          inflight
	slowness                          atomic.Int64    // how long the last blob took to begin, in nanoseconds
	pulse                             *memo[struct{}] // that it answers the ping
	// downUntil is, in Unix nanoseconds, up to when other URLs are tried first.
	downUntil atomic.Int64
	// headless is set once the registry was seen to refuse HEAD for blobs that
	// it gives on GET (public.ecr.aws; signed URLs that are good for GET only).
	headless atomic.Bool
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
	now := c.o.Now().UnixNano()
	ordered := slices.Clone(c.endpoints)
	slices.SortStableFunc(ordered, func(a, b *endpoint) int {
		down := func(e *endpoint) int {
			if e.downUntil.Load() > now {
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
		origin: originOf(u), inner: inner,
		base: at(before + "/v2/" + inner), ping: at(before + "/v2/"),
		learning:    make(chan struct{}, 1),
		tokens:      newMemo[string](o.Timeouts.Token, o.Now),
		credentials: newMemo[authn.AuthConfig](o.Timeouts.Token, o.Now),
		pulse:       newMemo[struct{}](o.Timeouts.Operation, o.Now),
		breaker:     &breaker{max: max(o.MaxFails, 0), rest: o.FailDuration, now: o.Now, url: originOf(u).String()},
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

// hush keeps operations of a kind quiet for a while after a 429.
func (e *endpoint) hush(kind string, until time.Time) { e.quiet(kind).Store(until.UnixNano()) }

// hushed returns how long a query still has to keep quiet.
func (e *endpoint) hushed(q query, now time.Time) time.Duration {
	until := e.quiet(q.kind).Load()
	if q.op == opGetManifest {
		until = max(until, e.usedUp.Load())
	}
	if until == 0 {
		return 0
	}
	return max(0, time.Unix(0, until).Sub(now))
}

// heed notes what an answer tells of the limit on manifests. Where nothing is
// left of it, the next GET would be refused, and prolong that with some.
func (e *endpoint) heed(a *answer, now time.Time) {
	if a.abroad {
		return
	}
	if pause, ok := usedUp(a.Header.Get("Ratelimit-Remaining")); ok {
		e.usedUp.Store(now.Add(pause).UnixNano())
	}
}

func (e *endpoint) quiet(kind string) *atomic.Int64 {
	if kind == kindBlobs {
		return &e.quietBlobs
	}
	return &e.quietMetadata
}

// learn returns what is known of the registry. If nothing is, it returns nil to
// one caller at a time, which finds out and calls done when it has or could not;
// done may be called more than once.
func (e *endpoint) learn(ctx context.Context) (k *knowledge, done func(), err error) {
	if k := e.known.Load(); k != nil {
		return k, func() {}, nil
	}
	timer := time.NewTimer(learnTimeout)
	defer timer.Stop()
	select {
	case e.learning <- struct{}{}:
	case <-timer.C:
		return e.known.Load(), func() {}, nil
	case <-ctx.Done():
		return nil, nil, asFailure(ctx, e.base.Host, ctx.Err())
	}
	if k := e.known.Load(); k != nil {
		<-e.learning
		return k, func() {}, nil
	}
	var once atomic.Bool
	return nil, func() {
		if once.CompareAndSwap(false, true) {
			<-e.learning
		}
	}, nil
}

// knowledge is how a registry authenticates: the challenge that it sent, and
// the scope in it as a pattern for other repositories.
type knowledge struct {
	challenge transport.Challenge
	// prefix and suffix stand around the repository; literal scopes, such as
	// "aws" of public.ecr.aws, do not depend on it.
	prefix, suffix string
	literal        string
}

// open is a registry that asked for nothing.
func open() *knowledge { return &knowledge{challenge: transport.Challenge{Scheme: schemeNone}} }

// learnFrom reads a challenge to a request for a repository; empty = the ping.
func (e *endpoint) learnFrom(challenge transport.Challenge, repository string) *knowledge {
	k := &knowledge{challenge: challenge, prefix: "repository:" + e.inner, suffix: ":pull"}
	scope := challenge.Parameters["scope"]
	if scope == "" || len(scope) > 4*oci.MaxRepositoryLength {
		return k
	}
	if repository != "" {
		before, after, found := strings.Cut(scope, repository)
		if found && strings.HasPrefix(before, "repository:") && strings.HasPrefix(after, ":") {
			k.prefix, k.suffix = before, after
			return k
		}
	}
	k.literal = scope
	return k
}

// scopes returns what to ask a token for.
func (k *knowledge) scopes(repository string) []string {
	if k.literal != "" {
		return strings.Fields(k.literal)
	}
	return strings.Fields(k.prefix + repository + k.suffix)
}
