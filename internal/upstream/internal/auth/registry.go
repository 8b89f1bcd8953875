package auth

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/memo"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Options make a Registry.
type Options struct {
	// Base is the URL below which the repositories lie, with a slash at the end; Ping is
	// that of the version check; Inner is what of the base's path the registry takes for
	// part of the repository's name.
	Base, Ping *url.URL
	Inner      string
	// Source tells who to be for a host; nil = nobody.
	Source func(ctx context.Context, host string) (credentials.Login, error)
	// Elsewhere is the origin that credentials are for where Source is nil; "" = there
	// are none.
	Elsewhere string
	// Origins may see the credentials, besides that of Base and its well-known token
	// server.
	Origins []egress.Origin
	Timeout time.Duration // of one exchange
	Now     func() time.Time
}

// Registry is how one registry authenticates, and who to be there. Safe for concurrent
// use.
type Registry struct {
	sender     *wire.Sender
	base, ping *url.URL
	inner      string
	source     func(ctx context.Context, host string) (credentials.Login, error)
	elsewhere  string
	trusted    []egress.Origin // may see the credentials
	now        func() time.Time

	// challenges is what the registry wants, and carriers who has said so.
	challenges challenges
	carriers   carriers
	// learning is held by the one request that finds out.
	learning chan struct{}
	// tokens are keyed by realm, service and scope; logins has one entry.
	tokens *memo.Memo[string]
	logins *memo.Memo[credentials.Login]
}

// New returns what is known of a registry that nobody has asked yet.
func New(s *wire.Sender, o Options) *Registry {
	return &Registry{
		sender: s, base: o.Base, ping: o.Ping, inner: o.Inner, source: o.Source, elsewhere: o.Elsewhere, now: o.Now,
		trusted:  append([]egress.Origin{s.Origin, wellKnownAuthOrigin(s.Origin)}, o.Origins...),
		learning: make(chan struct{}, 1),
		tokens:   memo.New[string](o.Timeout, o.Now),
		logins:   memo.New[credentials.Login](o.Timeout, o.Now),
	}
}

// HasLogin reports whether there are credentials.
func (r *Registry) HasLogin() bool { return r.source != nil }

// learnTimeout is how long requests hold back while another one finds out how
// to authenticate. It saves them a 401 each, so it is not worth more.
const learnTimeout = 2 * time.Second

// learn returns how to begin with a repository. If nothing is known of the
// registry, known is false, and one caller at a time finds out and calls done when
// it has or could not; done may be called more than once.
func (r *Registry) learn(ctx context.Context, repository string) (way challenge, known bool, done func(), err error) {
	if way, known = r.challenges.of(repository); known {
		return way, true, func() {}, nil
	}
	timer := time.NewTimer(learnTimeout)
	defer timer.Stop()
	select {
	case r.learning <- struct{}{}:
	case <-timer.C:
		way, known = r.challenges.of(repository)
		return way, known, func() {}, nil
	case <-ctx.Done():
		return way, false, nil, wire.AsFailure(ctx, r.base.Host, ctx.Err())
	}
	done = sync.OnceFunc(func() { <-r.learning })
	if way, known = r.challenges.of(repository); known {
		done()
	}
	return way, known, done, nil
}

// login returns who to be.
func (r *Registry) login(ctx context.Context) (entry *memo.Entry[credentials.Login], old bool, err error) {
	entry, old, err = r.logins.Get(ctx, "", func(ctx context.Context) (credentials.Login, time.Duration, error) {
		if r.source == nil {
			return credentials.Login{}, credentialsGood, nil
		}
		login, err := r.source(ctx, KeychainHost(r.base))
		if err != nil {
			return login, 0, &wire.Failure{Class: oci.ClassToken, Text: "no credentials for " + r.base.Host, Err: err}
		}
		return login, credentialsGood, nil
	})
	if err != nil {
		return nil, false, wire.AsFailure(ctx, r.base.Host, err)
	}
	return entry, old, nil
}
