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
