package upstream

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// origin is what secrets are bound to: scheme, host and port (RFC 6454).
type origin struct{ scheme, host, port string }

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		switch o.scheme {
		case "http":
			o.port = "80"
		case "https":
			o.port = "443"
		}
	}
	return o
}

// String returns the origin as a URL.
func (o origin) String() string { return o.scheme + "://" + net.JoinHostPort(o.host, o.port) }

// parseOrigin reads an element of Options.AuthOrigins.
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	if err != nil {
		return origin{}, fmt.Errorf("auth origin: %w", err)
	}
	if err := checkURL(u); err != nil {
		return origin{}, fmt.Errorf("auth origin %q: %w", s, err)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return origin{}, fmt.Errorf("auth origin %q: want a scheme, a host and nothing more", s)
	}
	return originOf(u), nil
}

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
