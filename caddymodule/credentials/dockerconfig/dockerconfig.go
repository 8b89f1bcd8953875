// Package dockerconfig is a source of credentials: the configuration file of Docker or
// Podman, and its credential programs.
package dockerconfig

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/caddymodule/credentials/internal/keychain"
)

func init() { caddy.RegisterModule(Source{}) }

// Source gives the credentials of the Docker or Podman configuration file and its
// credential programs, found as go-containerregistry's DefaultKeychain describes.
// Changes are seen within five minutes.
type Source struct{}

// CaddyModule returns the Caddy module information.
func (Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.docker_config",
		New: func() caddy.Module { return new(Source) },
	}
}

// Login implements credentials.Source.
func (Source) Login(ctx context.Context, registry string) (credentials.Login, error) {
	return keychain.Login(ctx, authn.DefaultKeychain, registry)
}

// Interface guards
var _ credentials.Source = (*Source)(nil)
