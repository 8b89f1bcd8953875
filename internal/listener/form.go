package listener

import (
	"net"
	"strings"
)

// Form returns an address that is written as other programs have it in the form that
// Caddy has. host and port are the usual ones.
func Form(text, host, port string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case isURL && scheme == "unix":
		return "unix/" + rest
	case isURL:
		text, _, _ = strings.Cut(rest, "/")
	case strings.HasPrefix(text, "unix:"):
		return "unix/" + strings.TrimPrefix(text, "unix:")
	case strings.HasPrefix(text, "/"), strings.HasPrefix(text, "./"):
		return "unix/" + text
	case strings.Trim(text, "0123456789") == "":
		return net.JoinHostPort(host, text)
	}
	if strings.ContainsAny(text, "/") {
		return text
	}
	if _, _, err := net.SplitHostPort(text); err != nil {
		return net.JoinHostPort(strings.Trim(text, "[]"), port)
	}
	return text
}
