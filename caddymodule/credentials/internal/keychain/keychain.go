// Package keychain makes sources of credentials from go-containerregistry's keychains.
package keychain

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

// Login returns what a keychain says of a registry.
func Login(ctx context.Context, k authn.Keychain, registry string) (credentials.Login, error) {
	resource, err := name.NewRegistry(registry, name.WeakValidation)
	if err != nil {
		return credentials.Login{}, err
	}
	authenticator, err := authn.Resolve(ctx, k, resource)
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
