package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/memo"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// How long a token is used: four fifths of what its server says, all of it if
// there is no new one then. The server is believed within these bounds. 60 s is also
// what it means to say nothing (Docker, "Token Authentication Specification").
const (
	minTokenLife = time.Minute
	maxTokenLife = time.Hour
	// credentialsGood is how long what a source said is believed.
	credentialsGood = 5 * time.Minute
)

// grant is what a request is authorized with. forget drops what it was made of,
// if that was known before the session; nil = it was not.
type grant struct {
	header string
	forget func()
}

// drop forgets a grant that the registry has refused, and reports whether another
// one may do: if it is older than the session.
func (g grant) drop() bool {
	if g.forget == nil {
		return false
	}
	g.forget()
	return true
}

// keep returns the grant of a memo's entry.
func keep[T any](s *Session, m *memo.Memo[T], key string, entry *memo.Entry[T], header string, old bool) grant {
	g := grant{header: header}
	if old && !s.obtained[header] {
		g.forget = func() { m.Forget(key, entry) }
	} else {
		s.obtained[header] = true
	}
	return g
}

// authorize returns a grant for one way to authenticate. An empty one means that
// there is nothing to authorize with.
func (s *Session) authorize(ctx context.Context, way challenge) (grant, error) {
	switch way.scheme {
	case schemeBasic:
		return s.basic(ctx)
	case schemeBearer:
		return s.bearer(ctx, way)
	}
	return grant{}, nil
}

func (s *Session) basic(ctx context.Context) (grant, error) {
	entry, old, err := s.r.login(ctx)
	if err != nil {
		return grant{}, err
	}
	var header string
	login := entry.Value
	switch {
	case login.RegistryToken != "":
		header = "Bearer " + login.RegistryToken
	case login.Username != "" && login.Password != "":
		pair := login.Username + ":" + login.Password
		header = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	default:
		return grant{}, nil
	}
	s.identified, s.loggedIn = true, true
	return keep(s, s.r.logins, "", entry, header, old), nil
}

func (s *Session) bearer(ctx context.Context, way challenge) (grant, error) {
	r := s.r
	server, err := r.realm(way.realm, r.base, r.carriers.of(way.realm))
	if err != nil {
		return grant{}, s.realmFailure(err)
	}
	s.claim(server)
	if way.scope == "" {
		way.scope = scopeOf(r.inner + s.repository)
	}
	key := tokenKey{way.realm, way.service, way.scope, server.trusted}.String()
	entry, old, err := r.tokens.Get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return r.exchange(ctx, server, way, s.repository)
	})
	if err != nil {
		return grant{}, s.denied(wire.AsFailure(ctx, r.base.Host, err))
	}
	return keep(s, r.tokens, key, entry, "Bearer "+entry.Value, old), nil
}

// claim notes whether a token server gets to know who we are.
func (s *Session) claim(server tokenServer) {
	switch known := s.r.source != nil; {
	case known && server.trusted:
		s.identified = true
	case known:
		s.withheld = egress.OriginOf(server.url).String()
	}
}

func (s *Session) realmFailure(err error) *wire.Failure {
	return &wire.Failure{Class: oci.ClassForbidden, Text: s.r.base.Host + " names a token server that is not asked: " + err.Error()}
}

// denied adds to a failure to get a token what a person can do about it.
func (s *Session) denied(f *wire.Failure) *wire.Failure {
	explained := *f
	if f.Class == oci.ClassDenied {
		explained.Text += s.refusal()
	}
	return &explained
}

// anonymous returns a token that anybody gets, as another registry wants one that
// a redirect has led to.
func (s *Session) anonymous(ctx context.Context, way challenge, a *wire.Answer) (string, error) {
	server, err := s.r.realm(way.realm, a.URL, a.From)
	if err != nil {
		return "", &wire.Failure{
			Class: oci.ClassForbidden, Text: a.URL.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	key := tokenKey{way.realm, way.service, way.scope, false}.String()
	entry, _, err := s.r.tokens.Get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return s.r.exchange(ctx, server, way, s.repository)
	})
	if err != nil {
		return "", err
	}
	return entry.Value, nil
}

// tokenKey is what a token was given for. identified tells those of the upstream's
// user from those that anybody gets.
type tokenKey struct {
	realm, service, scope string
	identified            bool
}

func (k tokenKey) String() string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%t", k.realm, k.service, k.scope, k.identified)
}
