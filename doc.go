// Package pullgate is a pull-through gateway for container registries, made
// of Caddy modules.
//
// Importing it registers the app registry_mirror and the handler
// http.handlers.registry_mirror, so that
//
//	xcaddy build --with github.com/pullgate/pullgate
//
// builds a Caddy that has both, and all sources of credentials. One without the SDKs of
// clouds is built with
//
//	xcaddy build --with github.com/pullgate/pullgate/caddymodule
//
// and with .../caddymodule/credentials/ecr, acr or google, or .../caddymodule/s3 for a
// fleet, where one is wanted. The modules live in ./caddymodule, the engine
// below them in ./internal and ./storage knows nothing of Caddy.
//
// A whole body that ends cleanly has the right bytes. So has every range of a blob that is
// cached, and every range that reaches the end of one. Another range of a blob that is
// still coming may end cleanly with bytes that later prove wrong: it says
// detail=unverified in Cache-Status, unless verify_ranges holds it back.
package pullgate

import (
	// Registers the Caddy modules.
	_ "github.com/pullgate/pullgate/caddymodule"
	// Registers the sources of credentials that need a cloud's SDK.
	_ "github.com/pullgate/pullgate/caddymodule/credentials/acr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/ecr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/google"
	// Registers the bucket of fleets.
	_ "github.com/pullgate/pullgate/caddymodule/s3"
)
