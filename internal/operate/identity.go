package operate

import (
	"fmt"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
)

// The store keeps what images are under the identities of upstreams: as many as sites
// configure one name differently.

// name returns the name of an upstream that may be an alias.
func (l Sites) name(alias string) string {
	for _, s := range slices.Backward(l) {
		if name, ok := s.Names[alias]; ok {
			return name
		}
	}
	return alias
}

// named returns the upstreams of a name.
func (l Sites) named(name string) (upstreams []*Upstream) {
	for _, s := range l {
		for _, u := range s.Upstreams {
			if u.Name == name {
				upstreams = append(upstreams, u)
			}
		}
	}
	return upstreams
}

// lookUp finds the identities of an upstream out.
func (l Sites) lookUp(name string) (err error) {
	for _, u := range l.named(name) {
		if u.Identity, err = u.identity(); err != nil {
			return fmt.Errorf("where images of %s lie is not known: %w", name, err)
		}
	}
	return nil
}

// scopes returns where images of a repository lie. Its upstream is looked up; those
// of one that is not configured lie where they will be looked for once it is, without
// further options.
func (l Sites) scopes(upstream, repository string) (scopes []oci.Scope) {
	for _, u := range l.named(upstream) {
		if scope := (oci.Scope{Upstream: u.Identity, Repository: repository}); !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	if len(scopes) == 0 {
		scopes = append(scopes, oci.Scope{Upstream: upstream, Repository: repository})
	}
	return scopes
}

// serves reports whether a scope is one of those that its upstream has now. Of
// upstreams that are not configured, or not looked up, that is not known: all are.
func (l Sites) serves(scope oci.Scope) bool {
	configured := l.named(oci.UpstreamName(scope.Upstream))
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
func (l Sites) isolated(identity string) bool {
	known := oci.UpstreamName(identity) == identity
	for _, u := range l.named(oci.UpstreamName(identity)) {
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
func (l Sites) public(identity string) bool {
	known := false
	for _, u := range l.named(oci.UpstreamName(identity)) {
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
