package egress

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Origin is what secrets are bound to: scheme, host and port (RFC 6454).
type Origin struct{ Scheme, Host, Port string }

// OriginOf returns the origin of a URL.
func OriginOf(u *url.URL) Origin {
	o := Origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.Port == "" {
		switch o.Scheme {
		case "http":
			o.Port = "80"
		case "https":
			o.Port = "443"
		}
	}
	return o
}

// String returns the origin as a URL.
func (o Origin) String() string { return o.Scheme + "://" + net.JoinHostPort(o.Host, o.Port) }

// ParseOrigin reads an element of Options.AuthOrigins.
func ParseOrigin(s string) (Origin, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Origin{}, fmt.Errorf("auth origin: %w", err)
	}
	if err := CheckURL(u); err != nil {
		return Origin{}, fmt.Errorf("auth origin %q: %w", s, err)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return Origin{}, fmt.Errorf("auth origin %q: want a scheme, a host and nothing more", s)
	}
	return OriginOf(u), nil
}
