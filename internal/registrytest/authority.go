package registrytest

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// Authority is how a profile finds out whom it answers, and what it tells others.
type Authority struct {
	// Open answers for public repositories, OpenPing the ping, without any
	// Authorization.
	Open, OpenPing bool
	// Basic takes user and password with any request.
	Basic bool
	// Tokens is the token server; nil = no token is taken.
	Tokens *Tokens
	// AccountOnly shows nothing to anybody but the account.
	AccountOnly bool
	// HidesMissing treats a repository that does not exist like one that is refused.
	HidesMissing bool
	// Ping and Pull answer clients without an Authorization, Stale those whose
	// Authorization is wrong or has expired; default is Pull. Denied answers clients
	// that are known and have no right.
	Ping, Pull, Stale, Denied Reply
}

// bearer is an Authority with tokens for one repository each. It challenges clients
// without one, and tells why a token is not enough.
func bearer(challenge string, tokens Tokens) Authority {
	return Authority{
		Ping: unauthorized(challenge), Pull: unauthorized(challenge + ofRepository),
		Stale:  unauthorized(challenge + ofRepository + `,error="invalid_token"`),
		Denied: unauthorized(challenge + ofRepository + `,error="insufficient_scope"`),
		Tokens: &tokens,
	}
}

func (a *Authority) used() bool { return a.Basic || a.Tokens != nil }

// identify finds out who a visit is from.
func (v *visit) identify() {
	a := &v.profile.Auth
	header := v.r.Header.Get("Authorization")
	name, password, isBasic := v.r.BasicAuth()
	token, isBearer := strings.CutPrefix(header, "Bearer ")
	switch {
	case header == "" || !a.used() && v.kind != "token":
	case isBasic && (a.Basic || v.kind == "token"):
		v.holder = stranger
		if o := v.server.o; o.Username == "" || name == o.Username && password == o.Password {
			v.holder, v.grant = user, grant{user: true, all: true}
		}
	case isBearer && a.Tokens != nil:
		v.holder = stranger
		if g, ok := v.server.grants.of(token); ok && (v.kind == "ping" || g.realm == v.realm()) {
			v.holder, v.grant = guest, g
			if g.user {
				v.holder = user
			}
		}
	default:
		v.holder = stranger
	}
}

// realm is what the tokens of a visit are good for: everything, unless there is one
// realm per first component of the repository's name.
func (v *visit) realm() string {
	if v.profile.Auth.Tokens.Realm == "" {
		return ""
	}
	key, _, _ := strings.Cut(v.name, "/")
	return key
}

// entitled reports whether somebody may see a repository.
func (a *Authority) entitled(r *repository, isUser bool) bool {
	switch {
	case r == nil:
		return !a.HidesMissing
	case a.AccountOnly || r.seenBy() == Private:
		return isUser
	}
	return r.seenBy() == Public
}

// admit lets a visit pass, or says why not.
func (a *Authority) admit(v *visit, next func(*visit)) {
	known := v.holder == guest || v.holder == user
	open := a.Open && v.holder != stranger && a.entitled(v.repo, false)
	mine := known && v.grant.covers(v.name) && a.entitled(v.repo, v.holder == user)
	switch {
	case !a.used() || open || mine, v.kind == "ping" && (known || a.OpenPing && v.holder == nobody):
		next(v)
	case v.holder == stranger:
		v.reply(a.Stale.or(a.Pull))
	case v.kind == "ping":
		v.reply(a.Ping.or(a.Pull))
	case known:
		v.reply(a.Denied.or(problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied")))
	default:
		v.reply(a.Pull)
	}
}

// grants are those of the tokens that were issued.
type grants struct {
	mu     sync.Mutex
	issued int
	tokens map[string]grant
}

// add issues a token, whose text has the number of it.
func (gs *grants) add(g grant, token func(n int) string) string {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.issued++
	value := token(gs.issued)
	gs.tokens[value] = g
	return value
}

// of returns what a token is good for, unless it has expired.
func (gs *grants) of(token string) (grant, bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g, ok := gs.tokens[token]
	return g, ok && !time.Now().After(g.end)
}

func (gs *grants) clear() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	clear(gs.tokens)
}

// grant is what a token is good for.
type grant struct {
	user, all bool
	names     map[string]bool
	realm     string
	end       time.Time
}

func (g grant) covers(name string) bool { return g.all || g.names[name] }
