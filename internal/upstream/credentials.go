package upstream

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/google"
)

// Credentials is where an upstream's user name and password come from. The
// zero value is no credentials. It prints no secret under any verb: what it
// holds is a function.
type Credentials struct {
	keychain func() authn.Keychain
	// own says that they belong to this upstream whatever its hosts are called;
	// others are looked up for each host.
	own bool
}

// IsZero reports whether there are no credentials.
func (c Credentials) IsZero() bool { return c.keychain == nil }

// String implements fmt.Stringer.
func (c Credentials) String() string {
	if c.IsZero() {
		return "no credentials"
	}
	return "credentials"
}

func fromKeychain(k authn.Keychain) Credentials {
	return Credentials{keychain: func() authn.Keychain { return k }}
}

// BasicCredentials are a fixed user name and password, for the token server or
// for the registry itself, whichever it asks for.
func BasicCredentials(user, password string) Credentials {
	c := fromKeychain(fixed{authn.FromConfig(authn.AuthConfig{Username: user, Password: password})})
	c.own = true
	return c
}

type fixed struct{ authn.Authenticator }

func (f fixed) Resolve(authn.Resource) (authn.Authenticator, error) { return f.Authenticator, nil }

// DockerConfigCredentials are those of the Docker or Podman configuration file
// and its credential programs, found as go-containerregistry's DefaultKeychain
// describes. Changes are seen within five minutes.
func DockerConfigCredentials() Credentials { return fromKeychain(authn.DefaultKeychain) }

// GoogleCredentials are the application default credentials, or gcloud's, for
// gcr.io and pkg.dev hosts; other hosts get none.
func GoogleCredentials() Credentials { return fromKeychain(google.Keychain) }

// resolve returns who to be at an endpoint, the zero value for nobody.
func (c Credentials) resolve(ctx context.Context, e *endpoint) (authn.AuthConfig, error) {
	if c.IsZero() || c.own && isForeignCache(e.origin.host) {
		return authn.AuthConfig{}, nil
	}
	registry, err := name.NewRegistry(keychainHost(e.base), name.WeakValidation)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	authenticator, err := authn.Resolve(ctx, c.keychain(), registry)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	config, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	return *config, nil
}
