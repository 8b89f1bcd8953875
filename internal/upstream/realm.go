package upstream

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// realm checks the realm of a challenge of an origin, and says whether it may see
// the upstream's credentials: only if the challenge is the upstream's own.
func (v *visit) realm(ctx context.Context, s string, of *url.URL) (realm *url.URL, trusted bool, err error) {
	from := originOf(of)
	realm, err = parseRealm(s, of)
	if err != nil {
		return nil, false, err
	}
	if err := checkURL(realm); err != nil {
		return nil, false, err
	}
	if from.scheme == "https" && realm.Scheme != "https" {
		return nil, false, errors.New("its realm leaves TLS")
	}
	at := originOf(realm)
	if at == v.e.origin || at == wellKnownAuthOrigin(v.e.origin) || slices.Contains(v.c.authOrigins, at) {
		if from != v.e.origin {
			return nil, false, errors.New("it is that of another registry") // who may know us by our certificate
		}
		return realm, true, nil
	}
	if err := v.c.guard.literal(ctx, realm); err != nil {
		return nil, false, err
	}
	return realm, false, nil
}

// parseRealm reads a realm. One that names the registry's own host in a way that
// cannot be asked, since the registry does not know the proxy in front of it, is
// taken for a path there: Nexus sends "null://host/v2/token", the port twice, or
// http with the port of https.
func parseRealm(s string, of *url.URL) (*url.URL, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	host, path, _ := strings.Cut(rest, "/")
	name, port, _ := strings.Cut(host, ":")
	realm, err := url.Parse(s)
	broken := err != nil || scheme == "null" || of.Scheme == "https" && scheme == "http" && (port == "443" || port == of.Port())
	if broken && strings.EqualFold(name, of.Hostname()) {
		realm, err = of.Parse("/" + path)
	}
	if err != nil {
		return nil, errors.New("its realm is no URL")
	}
	return realm, nil
}
