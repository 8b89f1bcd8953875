package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/storage"
)

// tellUnserved logs what the store has of upstreams that are offline, and that
// nobody gets: other URLs or credentials had brought it in, and to serve that to
// whoever may pull now is for the operator to decide.
func (s *service) tellUnserved() {
	for _, u := range s.upstreams {
		if !u.Offline {
			continue
		}
		stored, err := storedIdentities(s.open.Load().cache.Store.Store, u.Name)
		if err != nil {
			if !errors.Is(err, storage.ErrNoIndex) {
				s.log.Warn("what is stored of an upstream that is offline is not known", "upstream", u.Name, "error", err)
			}
			continue
		}
		nothing := !slices.Contains(stored, u.Identity())
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

// tellGuarded logs which upstreams not everybody may pull from, without any option
// that says so.
func (s *service) tellGuarded() {
	for _, u := range s.upstreams {
		if u.Access == nil && u.Guarded() {
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
		return slices.ContainsFunc(s.upstreams, func(u *config.Upstream) bool { return u.Identity() == identity })
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
