package auth

import (
	"net/url"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// wellKnownAuthOrigin returns the token server of registries that keep it at
// another host than themselves; the zero origin for all others.
func wellKnownAuthOrigin(registry egress.Origin) egress.Origin {
	if registry.Scheme != "https" || registry.Port != "443" {
		return egress.Origin{}
	}
	switch registry.Host {
	case "registry-1.docker.io", "index.docker.io", "docker.io":
		return egress.Origin{Scheme: "https", Host: "auth.docker.io", Port: "443"}
	case "registry.gitlab.com":
		return egress.Origin{Scheme: "https", Host: "gitlab.com", Port: "443"}
	case "registry.digitalocean.com":
		return egress.Origin{Scheme: "https", Host: "api.digitalocean.com", Port: "443"}
	}
	return egress.Origin{}
}

// KeychainHost returns the name that Docker's configuration knows a host by.
func KeychainHost(u *url.URL) string {
	switch u.Hostname() {
	case "registry-1.docker.io", "docker.io":
		return "index.docker.io"
	}
	return u.Host
}
