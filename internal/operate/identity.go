package operate

import (
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

// identities tell, by the names of upstreams, under which identities the store keeps
// what their images are: as many as sites configure one name differently.
type identities struct {
	names     map[string]string // by name and alias
	upstreams map[string][]*Upstream
}

func (l Sites) identities() *identities {
	known := &identities{names: make(map[string]string), upstreams: make(map[string][]*Upstream)}
	for _, s := range l {
		for alias, name := range s.Names {
			known.names[alias] = name
		}
		for _, u := range s.Upstreams {
			known.upstreams[u.Name] = append(known.upstreams[u.Name], u)
		}
	}
	return known
}

// name returns the name of an upstream that may be an alias.
func (i *identities) name(alias string) string {
	if name, ok := i.names[alias]; ok {
		return name
	}
	return alias
}

// knows reports whether there is such an upstream.
func (i *identities) knows(name string) bool { return len(i.upstreams[i.name(name)]) > 0 }

// lookUp finds the identities of an upstream out.
func (i *identities) lookUp(name string) (err error) {
	for _, u := range i.upstreams[i.name(name)] {
		if u.Identity, err = u.identity(); err != nil {
			return fmt.Errorf("where images of %s lie is not known: %w", name, err)
		}
	}
	return nil
}

// scopes returns where images of a repository lie. Its upstream is looked up; those
// of one that is not configured lie where they will be looked for once it is, without
// further options.
func (i *identities) scopes(upstream, repository string) (scopes []oci.Scope) {
	upstream = i.name(upstream)
	seen := make(map[string]bool)
	for _, u := range i.upstreams[upstream] {
		if !seen[u.Identity] {
			seen[u.Identity] = true
			scopes = append(scopes, oci.Scope{Upstream: u.Identity, Repository: repository})
		}
	}
	if len(scopes) == 0 {
		scopes = append(scopes, oci.Scope{Upstream: upstream, Repository: repository})
	}
	return scopes
}

// serves reports whether a scope is one of those that its upstream has now. Of
// upstreams that are not configured, or not looked up, that is not known: all are.
func (i *identities) serves(scope oci.Scope) bool {
	configured := i.upstreams[oci.UpstreamName(scope.Upstream)]
	for _, u := range configured {
		if u.Identity == "" || u.Identity == scope.Upstream {
			return true
		}
	}
	return len(configured) == 0
}

// isolated reports whether what the store keeps under an identity need not be for
// everybody. Of one that no upstream has now, it is not known what it was: unless it
// is what everybody sees at the usual place, it counts as isolated.
func (i *identities) isolated(identity string) bool {
	known := oci.UpstreamName(identity) == identity
	for _, u := range i.upstreams[oci.UpstreamName(identity)] {
		own, err := u.identity()
		if (err != nil || own == identity) && u.Isolated {
			return true
		}
		known = known || err == nil && own == identity
	}
	return !known
}

// public reports whether everybody may pull, from some site, what the store keeps
// under an identity, or may once an upstream is configured that has it.
func (i *identities) public(identity string) bool {
	known := false
	for _, u := range i.upstreams[oci.UpstreamName(identity)] {
		own, err := u.identity()
		if err != nil || own != identity {
			continue
		}
		if u.Public {
			return true
		}
		known = true
	}
	return !known && oci.UpstreamName(identity) == identity
}
