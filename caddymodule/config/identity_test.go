package config

import (
	"slices"
	"testing"

	_ "github.com/pullgate/pullgate/caddymodule/credentials/acr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/ecr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/google"
)

// TestIdentity: equal content shares a scope, and what may differ does not.
func TestIdentity(t *testing.T) {
	t.Setenv("A", "secret-a")
	t.Setenv("B", "secret-b")
	identity := func(u Upstream) string {
		t.Helper()
		if err := u.Provision(); err != nil {
			t.Fatal(err)
		}
		return u.Identity()
	}
	with := func(user, password string) Upstream {
		return Upstream{Name: "ghcr.io", Endpoint: Endpoint{Credentials: &Credentials{Username: user, Password: password}}}
	}
	plain := identity(Upstream{Name: "ghcr.io"})
	if plain != "ghcr.io" || identity(Upstream{Name: "ghcr.io", Endpoint: Endpoint{URL: []string{"https://ghcr.io"}}}) != plain {
		t.Errorf("the usual place is known as %q", plain)
	}
	if identity(with("a", "{env.A}")) != identity(with("a", "{env.B}")) {
		t.Error("a new password makes a new identity")
	}
	others := []string{
		plain,
		identity(with("a", "{env.A}")),
		identity(with("b", "{env.A}")),
		identity(Upstream{Name: "ghcr.io", Endpoint: Endpoint{URL: []string{"https://mirror.example"}}}),
		identity(Upstream{Name: "ghcr.io", Endpoint: Endpoint{Credentials: &Credentials{Provider: "google"}}}),
	}
	slices.Sort(others)
	if len(slices.Compact(slices.Clone(others))) != len(others) {
		t.Errorf("different content, same identity: %v", others)
	}
}
