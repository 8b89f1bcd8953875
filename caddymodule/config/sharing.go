package config

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Sharing says what of the content of an upstream is shared with other upstreams, and
// how long it is believed whose it is.
type Sharing struct {
	// Keep the bytes of this upstream from other ones: these cannot prove to have them
	// and get them from here, but download them once more, and nothing tells that they
	// are here. Only disk space is shared. What was brought in before stays as it was.
	// Default: true if the upstream has credentials, a client certificate, access other
	// than public, or a URL with a private or loopback address.
	Isolate *bool `json:"isolate,omitempty"`

	// How long it is believed that a repository has what it had once. When that is asked
	// for later, the upstream is asked again; what it refuses is not served any more, and
	// while it is down everything is. -1 = for ever. Default: 30d for an upstream that is
	// isolated, else for ever.
	ProofTTL caddy.Duration `json:"proof_ttl,omitempty"`
}

const defaultProofTTL = 30 * 24 * time.Hour

func (s *Sharing) check() error {
	if s.ProofTTL < -1 {
		return errors.New("proof_ttl must not be negative, except -1 (for ever)")
	}
	return nil
}

// Isolated reports whether the bytes of the upstream are kept from other ones.
func (u *Upstream) Isolated() bool { return u.isolated(isPrivate) }

// MarkedInBundles reports whether bundles say that the content of the upstream need not
// be for everybody. A registry on this machine itself does not make them, by its address
// alone: it stands in for another one, or is there to be carried.
func (u *Upstream) MarkedInBundles() bool {
	return u.isolated(func(a netip.Addr) bool { return isPrivate(a) && !a.IsLoopback() })
}

func (u *Upstream) isolated(by func(netip.Addr) bool) bool {
	if u.Isolate != nil {
		return *u.Isolate
	}
	return u.authenticates() || !u.Everybody() || u.isAt(by)
}

// isPrivate reports whether not everybody can reach an address.
func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || sharedSpace.Contains(a)
}

// isAt reports whether a URL of the upstream names such an address.
func (u *Upstream) isAt(such func(netip.Addr) bool) bool {
	for _, s := range u.urls() {
		parsed, err := url.Parse(s)
		if err != nil {
			continue
		}
		host := parsed.Hostname()
		a, err := netip.ParseAddr(host)
		switch {
		case host == "localhost" || strings.HasSuffix(host, ".localhost"):
			a = netip.IPv6Loopback()
		case err != nil:
			continue
		}
		if such(a.Unmap()) {
			return true
		}
	}
	return false
}

// sharedSpace is what carriers use between themselves and their customers, and others as
// they use private networks.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func (u *Upstream) proofTTL() time.Duration {
	switch {
	case u.ProofTTL > 0:
		return time.Duration(u.ProofTTL)
	case u.ProofTTL == 0 && u.Isolated():
		return defaultProofTTL
	}
	return 0
}
