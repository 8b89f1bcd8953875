package mirror

import (
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
)

// Access says who may use an upstream. The zero value admits every user that
// Caddy has authenticated, and nobody else.
type Access struct {
	// Public admits everybody, authenticated or not.
	Public bool
	// Users admits only these, if it is not empty. Public wins.
	Users []string
	// Hint tells a person who is not admitted why, and what to do; empty = nothing
	// that would help.
	Hint string
}

func (a Access) admits(user string) bool {
	switch {
	case a.Public:
		return true
	case user == "":
		return false
	}
	return len(a.Users) == 0 || slices.Contains(a.Users, user)
}

// globs match repository names.
type globs []oci.Glob

// newGlobs compiles the patterns of Upstream.Allow or Deny.
func newGlobs(patterns []string) (globs, error) {
	compiled := make(globs, 0, len(patterns))
	for _, p := range patterns {
		g, err := oci.ParseGlob(p)
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, g)
	}
	return compiled, nil
}

func (g globs) match(repository string) bool {
	return slices.ContainsFunc(g, func(one oci.Glob) bool { return one.Match(repository) })
}

// admit finds the upstream of a request and checks access, before anything else
// is looked at: the answer tells nothing about what is cached.
func (m *Mirror) admit(r oci.Request) (view, error) {
	u := m.upstreams[r.Upstream]
	if u == nil {
		return view{}, oci.NewError(oci.CodeNameUnknown, "no such upstream is configured")
	}
	denied := "access to " + u.Name + "/" + r.Repository + " is denied"
	switch {
	case !u.Access.admits(r.User) && r.User == "" && u.Access.Hint != "":
		return view{}, oci.NewError(oci.CodeDenied, denied+": "+u.Access.Hint)
	case !u.Access.admits(r.User):
		return view{}, oci.NewError(oci.CodeDenied, denied)
	case len(u.allow) > 0 && !u.allow.match(r.Repository), u.deny.match(r.Repository):
		return view{}, oci.NewError(oci.CodeDenied, denied+" by the upstream's options allow and deny")
	}
	return view{
		Cache: m.cache, upstream: u, repository: r.Repository,
		links:  links{m.cache.store, oci.Scope{Upstream: u.Identity, Repository: r.Repository}, u.Isolate},
		client: r.Client,
		ranged: r.Ranged,
	}, nil
}
