package registrytest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tokens is the token server of a profile.
type Tokens struct {
	// Host and Path are where it answers.
	Host Host
	Path string
	// Realm is more of them: one for each first component of a repository's name,
	// between Realm and Path. Tokens of one are not good for another.
	Realm string
	// Answer is the document: {value} is the token, {utc} and {local} the time of
	// its issue, right and with a wrong zone.
	Answer string
	// Prefix begins each token.
	Prefix string
	// Life is how long a token is good; default an hour.
	Life time.Duration
	// Unbound tokens are good for whatever their holder may see.
	Unbound bool
	// Needs are parameters without which the answer is 400.
	Needs []string
	// Actions are those that a scope may have; nil = any. Another one is a 400.
	Actions []string
	// Stranger answers a wrong password, NoScope a client without an account that asks
	// for no scope, Refused and Denied one without, or with, the account that has no
	// right to the scope, Unknown the account where there is no such repository. The
	// last four give a token that is good for nothing if they are zero.
	Stranger, NoScope, Refused, Denied, Unknown Reply
	// Name makes the name of a repository from that in a scope; nil = it is the same.
	Name func(v *visit, name string) string
}

func (t *Tokens) at(host Host, path string) bool {
	if t == nil || host != cmp.Or(t.Host, HostRegistry) && (host != HostCDN || t.Host != "") {
		return false
	}
	return path == t.Path || t.Realm != "" && strings.HasPrefix(path, t.Realm) && strings.HasSuffix(path, t.Path)
}

func (t *Tokens) serve(v *visit) {
	if v.r.Method != http.MethodGet {
		v.reply(problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "only GET"))
		return
	}
	query := v.r.URL.Query()
	scopes := strings.Fields(strings.Join(query["scope"], " "))
	g := grant{user: v.holder == user, all: t.Unbound, names: map[string]bool{}, end: time.Now().Add(cmp.Or(t.Life, time.Hour))}
	if key, found := strings.CutPrefix(v.r.URL.Path, t.Realm); found && t.Realm != "" {
		g.realm = strings.TrimSuffix(key, t.Path)
	}
	switch {
	case v.holder == stranger:
		v.reply(t.Stranger.or(problem(http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")))
		return
	case slices.ContainsFunc(t.Needs, func(name string) bool { return query.Get(name) == "" }):
		v.reply(problem(http.StatusBadRequest, "UNSUPPORTED", "a parameter is missing"))
		return
	case len(scopes) == 0 && v.holder == nobody && t.NoScope.Status != 0:
		v.reply(t.NoScope)
		return
	}
	for _, scope := range scopes {
		refusal := t.judge(v, &g, scope)
		if refusal.Status != 0 {
			v.reply(refusal)
			return
		}
	}
	t.issue(v, g)
}

// judge adds a scope to a grant, or says what is said in place of a token.
func (t *Tokens) judge(v *visit, g *grant, scope string) Reply {
	parts := strings.Split(scope, ":")
	if len(parts) != 3 || parts[0] != "repository" {
		return Reply{}
	}
	if t.Actions != nil && !slices.Contains(t.Actions, parts[2]) {
		return problem(http.StatusBadRequest, "INVALID_REQUEST", "Unable to decode repository and actions: "+scope)
	}
	name := parts[1]
	if name == "*" {
		return Reply{} // names no repository that could be missing
	}
	if t.Name != nil {
		name = t.Name(v, name)
	}
	repo := v.find(name)
	switch {
	case v.profile.Auth.entitled(repo, v.holder == user):
		g.names[name] = true
		return Reply{}
	case v.holder != user:
		return t.Refused
	case repo == nil:
		return t.Unknown.or(t.Denied)
	}
	return t.Denied
}

func (t *Tokens) issue(v *visit, g grant) {
	now := time.Now()
	value := v.server.grants.add(g, func(n int) string {
		return t.Prefix + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "v1:%s:%d:%d", v.r.URL.Query().Get("scope"), now.UnixNano(), n))
	})
	zone := time.FixedZone("", 5*60*60)
	body := strings.NewReplacer(
		"{value}", value, "{utc}", now.UTC().Format(time.RFC3339), "{local}", now.In(zone).Format("2006-01-02T15:04:05")+"Z",
		"{life}", strconv.Itoa(int(cmp.Or(t.Life, time.Hour).Seconds())),
	).Replace(t.Answer)
	v.reply(Reply{Status: http.StatusOK, Body: body})
}
