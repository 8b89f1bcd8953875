package upstream

import "net/url"

// wellKnownAuthOrigin returns the token server of registries that keep it at
// another host than themselves; the zero origin for all others.
func wellKnownAuthOrigin(registry origin) origin {
	if registry.scheme != "https" || registry.port != "443" {
		return origin{}
	}
	switch registry.host {
	case "registry-1.docker.io", "index.docker.io", "docker.io":
		return origin{"https", "auth.docker.io", "443"}
	case "registry.gitlab.com":
		return origin{"https", "gitlab.com", "443"}
	case "registry.digitalocean.com":
		return origin{"https", "api.digitalocean.com", "443"}
	}
	return origin{}
}

// keychainHost returns the name that Docker's configuration knows a host by.
func keychainHost(u *url.URL) string {
	switch u.Hostname() {
	case "registry-1.docker.io", "docker.io":
		return "index.docker.io"
	}
	return u.Host
}
