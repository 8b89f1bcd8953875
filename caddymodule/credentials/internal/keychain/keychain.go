// Package keychain makes sources of credentials from go-containerregistry's keychains.
package keychain

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

// Source is a Caddy module without options that gives what a keychain says of a registry.
type Source struct {
	name string
	of   authn.Keychain
}

// New returns the source of a name.
func New(name string, of authn.Keychain) *Source { return &Source{name, of} }

// CaddyModule returns the Caddy module information.
func (s *Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID("registry_mirror.credentials." + s.name),
		New: func() caddy.Module { return New(s.name, s.of) },
	}
}

// Login implements credentials.Source.
func (s *Source) Login(ctx context.Context, registry string) (credentials.Login, error) {
	resource, err := name.NewRegistry(registry, name.WeakValidation)
	if err != nil {
		return credentials.Login{}, err
	}
	authenticator, err := authn.Resolve(ctx, s.of, resource)
	if err != nil {
		return credentials.Login{}, err
	}
	config, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return credentials.Login{}, err
	}
	return credentials.Login{
		Username: config.Username, Password: config.Password,
		IdentityToken: config.IdentityToken, RegistryToken: config.RegistryToken,
	}, nil
}

// Interface guards
var _ credentials.Source = (*Source)(nil)
