package credentials_test

import (
	"context"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

// A module that is compiled in beside Pullgate registers in its init function:
//
//	func init() { caddy.RegisterModule(Environment{}) }
//
// An upstream uses it with "credentials": {"provider": "environment", "user": "robot"}.
func ExampleSource() {
	_ = os.Setenv("REGISTRY_TOKEN", "secret")
	var source credentials.Source = &Environment{User: "robot", Registry: "harbor.corp:8443"}

	login, err := source.Login(context.Background(), "harbor.corp:8443")
	fmt.Println(login.Username, login, err)
	login, err = source.Login(context.Background(), "ghcr.io")
	fmt.Println(login, err)
	// Output:
	// robot login <nil>
	// no login <nil>
}

// Environment is a source that has a token from the environment for one registry.
type Environment struct {
	User     string `json:"user,omitempty"`
	Registry string `json:"registry,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Environment) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.environment",
		New: func() caddy.Module { return new(Environment) },
	}
}

// Login implements credentials.Source.
func (e *Environment) Login(_ context.Context, registry string) (credentials.Login, error) {
	if registry != e.Registry {
		return credentials.Login{}, nil
	}
	return credentials.Login{Username: e.User, Password: os.Getenv("REGISTRY_TOKEN")}, nil
}
