// Package auth authenticates requests to one registry: it remembers what each
// repository wants to be asked with (challenges), gets tokens, and keeps them while they
// are good.
//
// A Registry holds what outlives an operation, a Session what belongs to one. A
// challenge that comes from behind a redirect is never answered with credentials.
//
// The flows are those of go-containerregistry's transport package: its challenge and token
// types and its token exchange. Its round trippers are not used, because they ping before
// each pull and leave the choice of redirects, realms and token lifetimes to the
// registry.
package auth
