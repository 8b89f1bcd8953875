package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Trial is what a registry says to a version check.
type Trial struct {
	// Clock is the time there; zero = it does not tell.
	Clock time.Time
	// Identified says that it, or its token server, has accepted the upstream's
	// credentials.
	Identified bool
}

// Try sends a version check, and says who we are if there are credentials, as logging in
// does. Tokens that are known do not count, and the source of credentials is asked anew.
// Where nobody is asked who they are, credentials are not tried.
func (r *Registry) Try(ctx context.Context) (t Trial, err error) {
	a, err := r.askPing(ctx)
	if err != nil {
		return t, err
	}
	t.Clock, _ = http.ParseTime(a.Header.Get("Date"))
	s := r.Session("")
	switch a.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return t, s.StatusFailure(a)
	}
	var offered []challenge
	if !a.Abroad {
		offered = offeredForPing(a)
		r.carriers.note(offered, a.From)
	}
	wanted := a.StatusCode != http.StatusOK
	a.Drain()
	if len(offered) == 0 {
		return t, nil
	}
	r.renewLogin(ctx)
	err = s.why(nil) // which holds if none of them can be tried
	for _, way := range offered {
		tried, failed := s.try(ctx, way)
		if !tried {
			continue
		}
		if err = failed; err == nil {
			t.Identified = s.identified
			break
		}
	}
	if r.source == nil && !wanted {
		err = nil // everybody gets what is for everybody
	}
	return t, err
}

// renewLogin has the source asked again.
func (r *Registry) renewLogin(ctx context.Context) {
	if entry, old, err := r.login(ctx); err == nil && old {
		r.logins.Forget("", entry)
	}
}

// try gets what one way leads to. What nobody can do without credentials is not tried.
func (s *Session) try(ctx context.Context, way challenge) (tried bool, err error) {
	if way.scheme == schemeBearer {
		return true, s.tryToken(ctx, way)
	}
	if s.r.source == nil {
		return false, nil
	}
	g, err := s.basic(ctx)
	if err != nil || g.header == "" {
		return err != nil, err
	}
	a, err := s.r.sender.Send(ctx, wire.Request{Op: wire.OpPing, Method: http.MethodGet, URL: s.r.ping}.As(g.header))
	if err != nil {
		return true, err
	}
	if !refused(a, way) {
		a.Drain()
		return true, nil
	}
	return true, identityFailure(s.StatusFailure(a))
}

// tryToken gets a token that is good for no repository. That a token server wants to know
// which one says nothing: neither of whom it does not know, nor, as some refuse that with
// 403 to anybody, of who we are.
func (s *Session) tryToken(ctx context.Context, way challenge) error {
	server, err := s.r.realm(way.realm, s.r.base, s.r.carriers.of(way.realm))
	if err != nil {
		return s.realmFailure(err)
	}
	s.claim(server)
	if s.withheld != "" {
		return &wire.Failure{Class: oci.ClassDenied, Text: s.r.base.Host + " wants a token" + s.refusal()}
	}
	_, _, err = s.r.exchange(ctx, server, way, "")
	f, ok := errors.AsType[*wire.Failure](err)
	switch {
	case !ok || f.Class != oci.ClassDenied:
		return err
	case f.Identity:
		return s.denied(f)
	}
	s.identified = false
	return nil
}

// identityFailure is a failure that is due to who we are, as there was no repository in
// it, if it says that: with 403, somebody is known who may not do that.
func identityFailure(f *wire.Failure) *wire.Failure {
	f.Identity = f.Status == http.StatusUnauthorized
	return f
}
