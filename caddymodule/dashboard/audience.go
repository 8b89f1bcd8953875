package dashboard

import (
	"maps"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// allowed is what a dashboard lets those do who reach it.
type allowed struct {
	actions bool
	users   []string // whom actions are for; nil = everybody
	all     bool     // everything is shown
}

// acts reports whether a user may change something.
func (a allowed) acts(user string) bool {
	return a.actions && (len(a.users) == 0 || user != "" && slices.Contains(a.users, user))
}

// audience returns what a user sees.
func (a allowed) audience(sites operate.Sites, user string) *audience {
	if !a.all {
		return audienceOf(sites, user)
	}
	operator := &audience{admitted: map[string]bool{}, operator: true, all: true}
	for _, site := range sites {
		for _, u := range site.Upstreams {
			operator.admitted[u.Name] = true
		}
	}
	return operator
}

// audience is what a user may see: what he may pull. Where several sites have one name,
// each has to admit him.
type audience struct {
	operator   bool            // he sees also what nobody may pull any more
	admitted   map[string]bool // by the name of the upstream
	identities map[string]bool // those of admitted upstreams
	key        string          // the same for users who see the same
	all        bool            // every upstream admits him
}

func audienceOf(sites operate.Sites, user string) *audience {
	a := &audience{admitted: map[string]bool{}, identities: map[string]bool{}, all: true}
	for _, site := range sites {
		for _, u := range site.Upstreams {
			admits := u.Admits(user)
			before, known := a.admitted[u.Name]
			a.admitted[u.Name] = admits && (before || !known)
			a.all = a.all && admits
		}
	}
	for _, site := range sites {
		for _, u := range site.Upstreams {
			if a.admitted[u.Name] {
				a.identities[u.Identity] = true
			}
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.admitted)) {
		if a.admitted[name] {
			names = append(names, name)
		}
	}
	a.key = strings.Join(names, " ")
	if a.all {
		a.key += " all"
	}
	return a
}

// sees reports whether he may see what is told of an upstream by its name.
func (a *audience) sees(name string) bool { return a.operator || a.admitted[name] }

// seesScope reports whether he may see what the store keeps of a scope. Of an upstream
// that no site has now, that is what everybody sees at the usual place.
func (a *audience) seesScope(scope oci.Scope) bool {
	if a.operator {
		return true
	}
	name := oci.UpstreamName(scope.Upstream)
	admitted, configured := a.admitted[name]
	if !configured {
		return scope.Upstream == name
	}
	return admitted && (scope.Upstream == name || a.identities[scope.Upstream])
}
