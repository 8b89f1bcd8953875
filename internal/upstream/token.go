package upstream

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// How long a token is used: four fifths of what its server says, all of it if
// there is no new one then. The server is believed within these bounds. 60 s is also what it means to say nothing
// (Docker, "Token Authentication Specification").
const (
	minTokenLife = time.Minute
	maxTokenLife = time.Hour
	// credentialsGood is how long what a keychain said is believed.
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
func keep[T any](s *session, m *memo[T], key string, entry *memoEntry[T], header string, old bool) grant {
	g := grant{header: header}
	if old && !s.fresh[header] {
		g.forget = func() { m.forget(key, entry) }
	} else {
		s.fresh[header] = true
	}
	return g
}

// authorize returns a grant for one way to authenticate. An empty one means that
// there is nothing to authorize with.
func (s *session) authorize(ctx context.Context, way challenge) (grant, error) {
	switch way.scheme {
	case schemeBasic:
		return s.basic(ctx)
	case schemeBearer:
		return s.bearer(ctx, way)
	}
	return grant{}, nil
}

func (s *session) basic(ctx context.Context) (grant, error) {
	entry, old, err := s.r.login(ctx)
	if err != nil {
		return grant{}, err
	}
	var header string
	login := entry.value
	switch {
	case login.RegistryToken != "":
		header = "Bearer " + login.RegistryToken
	case login.Username != "" && login.Password != "":
		pair := login.Username + ":" + login.Password
		header = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	default:
		return grant{}, nil
	}
	s.identified = true
	return keep(s, s.r.logins, "", entry, header, old), nil
}

func (s *session) bearer(ctx context.Context, way challenge) (grant, error) {
	r := s.r
	server, err := r.realm(way.realm, r.base, r.carriers.of(way.realm))
	if err != nil {
		return grant{}, &failure{
			class: oci.ClassForbidden, text: r.base.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	switch known := r.source != nil; {
	case known && server.trusted:
		s.identified = true
	case known:
		s.withheld = originOf(server.url).String()
	}
	if way.scope == "" {
		way.scope = scopeOf(r.inner + s.repository)
	}
	key := tokenKey{way.realm, way.service, way.scope, server.trusted}.String()
	entry, old, err := r.tokens.get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return r.exchange(ctx, server, way)
	})
	if err != nil {
		return grant{}, s.denied(asFailure(ctx, r.base.Host, err))
	}
	return keep(s, r.tokens, key, entry, "Bearer "+entry.value, old), nil
}

// denied adds to a failure to get a token what a person can do about it.
func (s *session) denied(f *failure) *failure {
	told := *f
	if f.class == oci.ClassDenied {
		told.text += s.refusal()
	}
	return &told
}

// anonymous returns a token that anybody gets, as another registry wants one that
// a redirect has led to.
func (s *session) anonymous(ctx context.Context, way challenge, a *answer) (string, error) {
	server, err := s.r.realm(way.realm, a.url, a.from)
	if err != nil {
		return "", &failure{
			class: oci.ClassForbidden, text: a.url.Host + " names a token server that is not asked: " + err.Error(),
		}
	}
	key := tokenKey{way.realm, way.service, way.scope, false}.String()
	entry, _, err := s.r.tokens.get(ctx, key, func(ctx context.Context) (string, time.Duration, error) {
		return s.r.exchange(ctx, server, way)
	})
	if err != nil {
		return "", err
	}
	return entry.value, nil
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
