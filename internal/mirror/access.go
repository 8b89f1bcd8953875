package mirror

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// Access says who may use an upstream. The zero value admits every user that
// Caddy has authenticated, and nobody else.
type Access struct {
	// Public admits everybody, authenticated or not.
	Public bool
	// Users admits only these, if it is not empty. Public wins.
	Users []string
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
type globs []*regexp.Regexp

// CheckGlob tells what is wrong with an element of Upstream.Allow or Deny; nil =
// nothing.
func CheckGlob(s string) error {
	if s == "" || strings.Contains(s, "***") || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-/*") != "" {
		return fmt.Errorf("%q is no glob of repositories: want the characters of repository names, * and **, such as library/* or team-a/**", s)
	}
	return nil
}

// newGlobs compiles patterns in which * stands for any text without a slash and
// ** for any text.
func newGlobs(patterns []string) (globs, error) {
	compiled := make(globs, 0, len(patterns))
	for _, p := range patterns {
		if err := CheckGlob(p); err != nil {
			return nil, err
		}
		expression := regexp.QuoteMeta(p)
		expression = strings.ReplaceAll(expression, `\*\*`, `.*`)
		expression = strings.ReplaceAll(expression, `\*`, `[^/]*`)
		re, err := regexp.Compile("^" + expression + "$")
		if err != nil {
			return nil, fmt.Errorf("compile glob %q: %w", p, err)
		}
		compiled = append(compiled, re)
	}
	return compiled, nil
}

func (g globs) match(repository string) bool {
	return slices.ContainsFunc(g, func(re *regexp.Regexp) bool { return re.MatchString(repository) })
}

// admit finds the upstream of a request and checks access, before anything else
// is looked at: the answer tells nothing about what is cached.
func (m *Mirror) admit(r oci.Request) (view, error) {
	u := m.upstreams[r.Upstream]
	if u == nil {
		return view{}, oci.NewError(oci.CodeNameUnknown, "no such upstream is configured")
	}
	if !u.Access.admits(r.User) ||
		len(u.allow) > 0 && !u.allow.match(r.Repository) || u.deny.match(r.Repository) {
		return view{}, oci.NewError(oci.CodeDenied, "access to "+u.Name+"/"+r.Repository+" is denied")
	}
	return view{
		Cache: m.cache, upstream: u, repository: r.Repository,
		scope:  oci.Scope{Upstream: u.Identity, Repository: r.Repository},
		client: r.Client,
	}, nil
}
