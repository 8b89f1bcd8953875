// Package dockerconfig is a source of credentials: those of the Docker or Podman
// configuration file and its credential programs, found as go-containerregistry's
// DefaultKeychain describes. Changes are seen within five minutes.
package dockerconfig

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/pullgate/pullgate/caddymodule/credentials/internal/keychain"
)

func init() { caddy.RegisterModule(source()) }

func source() *keychain.Source { return keychain.New("docker_config", authn.DefaultKeychain) }
