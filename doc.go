// Package pullgate is a pull-through gateway for container registries, made
// of Caddy modules.
//
// Importing it registers the app registry_mirror and the handler
// http.handlers.registry_mirror, so that
//
//	xcaddy build --with github.com/pullgate/pullgate
//
// builds a Caddy that has both. The modules live in ./caddymodule, the engine
// below them in ./internal and ./storage knows nothing of Caddy.
package pullgate

import (
	// Registers the Caddy modules.
	_ "github.com/pullgate/pullgate/caddymodule"
)
