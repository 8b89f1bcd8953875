// Package google is a source of credentials: the identity that Google's libraries or
// gcloud find on this machine.
package google

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-containerregistry/pkg/v1/google"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/caddymodule/credentials/internal/keychain"
)

func init() { caddy.RegisterModule(Source{}) }

// Source gives the application default credentials, or gcloud's, to gcr.io and pkg.dev
// hosts; other hosts get none.
type Source struct{}

// CaddyModule returns the Caddy module information.
func (Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.google",
		New: func() caddy.Module { return new(Source) },
	}
}

// Login implements credentials.Source.
func (Source) Login(ctx context.Context, registry string) (credentials.Login, error) {
	return keychain.Login(ctx, google.Keychain, registry)
}

// Interface guards
var _ credentials.Source = (*Source)(nil)
