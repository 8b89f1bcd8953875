// Package google is a source of credentials: the application default credentials of
// Google's libraries, or gcloud's, for gcr.io and pkg.dev hosts; other hosts get none.
package google

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-containerregistry/pkg/v1/google"

	"github.com/pullgate/pullgate/caddymodule/credentials/internal/keychain"
)

func init() { caddy.RegisterModule(source()) }

func source() *keychain.Source { return keychain.New("google", google.Keychain) }
