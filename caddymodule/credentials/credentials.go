// Package credentials is what a source of credentials implements: it tells who to be at
// a container registry.
//
// A source becomes one of Caddy by registering as a module in the namespace
// registry_mirror.credentials:
//
//   - Its ID is registry_mirror.credentials.<name>, and an upstream uses it with
//     "credentials": {"provider": "<name>", ...}. Its options stand beside provider.
//   - In a Caddyfile it is credentials <name> { ... }. A source that implements
//     caddyfile.Unmarshaler gets the block, beginning with the name; one that does
//     not has no options there.
//   - Options may hold placeholders, as {env.TOKEN}; the source replaces them in its
//     Provision.
//
// The name and the options of a source, as they are configured, are part of the
// identity under which the store keeps what the upstream has: they must tell two users
// apart who may see different content, and change for nothing else.
package credentials

import (
	"context"
	"fmt"
	"log/slog"
)

// Source tells who to be at registries. It is used by many goroutines at a time.
//
// A source is asked for as long as anything goes on that began under its configuration,
// which can be after its Cleanup; and configurations that name the same source with
// the same options can share one of its instances. So Cleanup closes nothing that
// Login needs.
type Source interface {
	// Login returns who to be at a registry, which is named as in image references:
	// index.docker.io, ghcr.io, harbor.corp:8443. The zero value is nobody: then requests
	// are anonymous. An error fails the operation, and is shown in logs, so that it must
	// hold no secret. What Login returns is used for five minutes, and at most five
	// seconds are waited for it by default (token_timeout).
	Login(ctx context.Context, registry string) (Login, error)
}

// Login is who to be at a registry: a user name and a password, or a token. It prints
// no secret under any verb.
type Login struct {
	// Username and Password are for the token server or for the registry itself,
	// whichever it asks for.
	Username, Password string
	// IdentityToken is an OAuth 2 refresh token, which a token server exchanges for
	// others. Username may stand beside it.
	IdentityToken string
	// RegistryToken is a bearer token that the registry takes as it is.
	RegistryToken string
}

// Format implements fmt.Formatter.
func (l Login) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(l.LogValue().String())) }

// LogValue implements slog.LogValuer.
func (l Login) LogValue() slog.Value {
	if l == (Login{}) {
		return slog.StringValue("no login")
	}
	return slog.StringValue("login")
}
