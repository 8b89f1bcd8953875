package auth

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// tokenServer is where a realm says that tokens are.
type tokenServer struct {
	url *url.URL
	// trusted says that it may see the upstream's credentials: the challenge is the
	// upstream's own, and its origin is that of the upstream, is known to belong to it, or
	// was named by the operator, so that it may be at any address, too.
	trusted bool
	by      egress.Leader
}

// realm checks the realm of a challenge of an origin, which came from an address.
func (r *Registry) realm(s string, of *url.URL, carried netip.AddrPort) (tokenServer, error) {
	from := egress.OriginOf(of)
	realm, err := parseRealm(s, of)
	if err != nil {
		return tokenServer{}, err
	}
	if err := egress.CheckURL(realm); err != nil {
		return tokenServer{}, err
	}
	if from.Scheme == "https" && realm.Scheme != "https" {
		return tokenServer{}, errors.New("its realm leaves TLS")
	}
	by := r.sender.Leader(carried)
	at := egress.OriginOf(realm)
	if slices.Contains(r.trusted, at) {
		if from != r.sender.Origin {
			return tokenServer{}, errors.New("it is that of another registry") // who may know us by our certificate
		}
		by.Configured = true
		return tokenServer{realm, true, by}, nil
	}
	if err := r.sender.Transports.Lead(realm, by); err != nil {
		return tokenServer{}, err
	}
	return tokenServer{realm, false, by}, nil
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

// carriers remember which address was the last to name a realm, unless that is public: a
// challenge is remembered for longer than its connection lives, and leads no further for
// that. The zero value remembers nothing. Safe for concurrent use.
type carriers struct {
	mu sync.Mutex
	by map[string]netip.AddrPort
}

func (m *carriers) note(offered []challenge, from netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, way := range offered {
		delete(m.by, way.realm)
		if way.realm == "" || egress.IsPublic(from.Addr()) || !from.IsValid() {
			continue
		}
		if len(m.by) >= maxChallenges {
			for other := range m.by { // any: it is named again
				delete(m.by, other)
				break
			}
		}
		if m.by == nil {
			m.by = map[string]netip.AddrPort{}
		}
		m.by[way.realm] = from
	}
}

func (m *carriers) of(realm string) netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[realm]
}
