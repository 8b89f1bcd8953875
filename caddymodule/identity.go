package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// identities tell, by the names of upstreams, under which identities the store keeps
// what their images are: as many as sites configure one name differently.
type identities struct {
	names     map[string]string // by name and alias
	upstreams map[string][]*Upstream
}

// identities returns those of sites.
func (l imageSites) identities() *identities {
	known := &identities{names: make(map[string]string), upstreams: make(map[string][]*Upstream)}
	for _, s := range l {
		for alias, u := range s.names {
			known.names[alias] = u.Name
		}
		for _, u := range s.upstreams {
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

// provision finds out about an upstream what its identity consists of.
func (i *identities) provision(name string) error {
	for _, u := range i.upstreams[i.name(name)] {
		if u.resolved != nil {
			continue
		}
		if err := u.provision(); err != nil {
			return fmt.Errorf("where images of %s lie is not known: %w", name, err)
		}
	}
	return nil
}

// scopes returns where images of a repository lie. Its upstream is provisioned; those
// of one that is not configured lie where they will be looked for once it is, without
// further options.
func (i *identities) scopes(upstream, repository string) (scopes []oci.Scope) {
	upstream = i.name(upstream)
	seen := make(map[string]bool)
	for _, u := range i.upstreams[upstream] {
		if identity := u.identity(); !seen[identity] {
			seen[identity] = true
			scopes = append(scopes, oci.Scope{Upstream: identity, Repository: repository})
		}
	}
	if len(scopes) == 0 {
		scopes = append(scopes, oci.Scope{Upstream: upstream, Repository: repository})
	}
	return scopes
}

// serves reports whether a scope is one of those that its upstream has now. Of
// upstreams that are not configured, or not provisioned, that is not known: all are.
func (i *identities) serves(scope oci.Scope) bool {
	configured := i.upstreams[oci.UpstreamName(scope.Upstream)]
	for _, u := range configured {
		if u.resolved == nil || u.identity() == scope.Upstream {
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
		own, err := u.identityOf()
		if (err != nil || own == identity) && u.isolated() {
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
		own, err := u.identityOf()
		if err != nil || own != identity {
			continue
		}
		if u.everybody() {
			return true
		}
		known = true
	}
	return !known && oci.UpstreamName(identity) == identity
}

// identityOf returns the identity also of an upstream that is not provisioned.
func (u *Upstream) identityOf() (string, error) {
	if u.resolved == nil {
		provisioned := *u
		if err := provisioned.provision(); err != nil {
			return "", err
		}
		u = &provisioned
	}
	return u.identity(), nil
}

// tellUnserved logs what the store has of upstreams that are offline, and that
// nobody gets: other URLs or credentials had brought it in, and to serve that to
// whoever may pull now is for the operator to decide.
func (s *service) tellUnserved() {
	for _, u := range s.upstreams {
		if !u.Offline {
			continue
		}
		stored, err := storedIdentities(s.open.Load().cache.store, u.Name)
		if err != nil {
			if !errors.Is(err, storage.ErrNoIndex) {
				s.log.Warn("what is stored of an upstream that is offline is not known", "upstream", u.Name, "error", err)
			}
			continue
		}
		nothing := !slices.Contains(stored, u.identity())
		stored = slices.DeleteFunc(stored, s.app.serves)
		if len(stored) == 0 {
			continue
		}
		message := "part of what is stored of this upstream is not served"
		if nothing {
			message = "what is stored of this upstream is not served: all pulls will be answered with 404"
		}
		s.log.Warn(message, "upstream", u.Name, "stored_as", stored, "why",
			"it was pulled with other options url, credentials or tls_client, so that it need not be for everybody",
			"do", fmt.Sprintf("give the upstream the options that it had, beside offline; or stored_as %s, with access public if everybody may pull it; mirror serve --offline %[1]s does both", stored[0]))
	}
}

// guardedHint is why nobody who is not logged in may use an upstream, and what to do
// about it.
const guardedHint = "the upstream has credentials, and no option access, so that it answers only users whom Caddy has " +
	"authenticated: log in, put basic_auth into the site, or give the upstream access public"

// tellGuarded logs which upstreams not everybody may pull from, without any option
// that says so.
func (s *service) tellGuarded() {
	for _, u := range s.upstreams {
		if u.Access == nil && u.guarded() {
			s.log.Warn("only users whom Caddy has authenticated may pull from this upstream", "upstream", u.Name, "why",
				"it has credentials, a client certificate or stored_as, and no option access",
				"do", "say access authenticated if that is meant, or access public if everybody may pull what the credentials open")
		}
	}
}

// serves reports whether a site of the configuration has an upstream of the
// identity.
func (r *appRun) serves(identity string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.handlers, func(s *service) bool {
		return slices.ContainsFunc(s.upstreams, func(u *Upstream) bool { return u.identity() == identity })
	})
}

func storedIdentities(store *storage.Store, upstream string) ([]string, error) {
	catalog, err := store.Catalog(context.Background())
	if err != nil {
		return nil, err
	}
	defer catalog.Close()
	return catalog.Identities(context.Background(), upstream)
}
