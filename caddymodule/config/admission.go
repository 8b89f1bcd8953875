package config

import (
	"errors"
	"slices"
)

// Admission says who may pull what.
type Admission struct {
	// Who may pull from this upstream. Default: everybody, but only users that
	// Caddy has authenticated if it has credentials or a client certificate.
	Access *Access `json:"access,omitempty"`

	// Repositories to mirror, as globs: * matches inside a path component, **
	// across components. Default: all.
	Allow []string `json:"allow,omitempty"`

	// Repositories not to mirror, as globs. It wins over allow.
	Deny []string `json:"deny,omitempty"`
}

// Access says who may pull from an upstream. Without any field set: every user
// that Caddy has authenticated.
type Access struct {
	// Everybody, authenticated or not.
	Public bool `json:"public,omitempty"`
	// Only these users ({http.auth.user.id}).
	Users []string `json:"users,omitempty"`
}

// Admits reports whether a user may pull; empty = nobody is logged in. nil admits
// everybody, but only users where the upstream is guarded.
func (a *Access) Admits(user string, guarded bool) bool {
	switch {
	case a == nil && !guarded, a != nil && a.Public:
		return true
	case user == "":
		return false
	}
	return a == nil || len(a.Users) == 0 || slices.Contains(a.Users, user)
}

func (a *Access) check() error {
	if a != nil && a.Public && len(a.Users) > 0 {
		return errors.New("access is either public or a list of users")
	}
	if a != nil && slices.Contains(a.Users, "") {
		return errors.New("access: a user name is empty")
	}
	return nil
}
