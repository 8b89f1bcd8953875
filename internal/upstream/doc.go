// Package upstream speaks to one remote registry: it authenticates, follows
// redirects, retries, resumes nothing and caches nothing but what it needs to
// ask again cheaply (challenges, tokens, how long it has to keep quiet).
//
// Three rules hold for every request:
//
//   - Secrets go to the origin (scheme, host and port) of the configured URL that they
//     are for, to the token servers known to belong to it, and to the origins of
//     Options.AuthOrigins; nowhere else, not even when a
//     registry, its token server or a redirect asks for them. A challenge that
//     comes from behind a redirect is never answered with them.
//   - What an upstream supplies (a realm, a redirect) leads to public addresses,
//     to the address and port of the connection that it came over, and to
//     Options.AllowAddresses. The dialer checks the address it is about to connect
//     to, so no spelling and no DNS answer gets around it; nor does a kept connection
//     that somebody else has led to. Addresses that hand out a machine's secrets are
//     never connected to. Where an HTTP proxy resolves, names are all there is to check.
//   - A 404 is an upstream's own word. Everything that merely went wrong has
//     another oci.Class, and so has a 404 from behind a redirect, unless it is
//     the error document of a registry that lacks the manifest.
//
// Below it, internal/egress decides where connections may lead, internal/wire sends one
// request and returns its answer, and internal/auth authenticates. This package tries the
// URLs of the upstream, reads what they answer, and keeps away from those in trouble.
//
// A Client owns its connections, its tokens and nothing else. It outlives
// requests, not the configuration that made it: Close it when no new operation
// will begin. Operations and bodies that are under way finish.
package upstream
