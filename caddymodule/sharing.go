package caddymodule

import (
	"errors"
	"fmt"
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

// isolated reports whether what the upstream answers need not be for everybody: it is
// kept from other upstreams, and marked wherever it is carried. What is at a private
// address is not: whoever may pull here has it, but others need not know of it.
func (u *Upstream) isolated() bool {
	if u.Isolate != nil {
		return *u.Isolate
	}
	return u.authenticates() || !u.everybody() || u.private()
}

// private reports whether the upstream is at an address that not everybody can reach.
func (u *Upstream) private() bool {
	for _, s := range u.urls() {
		parsed, err := url.Parse(s)
		if err != nil {
			continue
		}
		host := parsed.Hostname()
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			return true
		}
		if a, err := netip.ParseAddr(host); err == nil {
			a = a.Unmap()
			if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || sharedSpace.Contains(a) {
				return true
			}
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
	case u.ProofTTL == 0 && u.isolated():
		return defaultProofTTL
	}
	return 0
}

func init() {
	upstreamOptions["isolate"] = upstreamOption{max: 1, set: func(u *Upstream, args []string) error {
		on := true
		if len(args) == 1 {
			switch args[0] {
			case "on":
			case "off":
				on = false
			default:
				return fmt.Errorf("isolate %s is neither on nor off", args[0])
			}
		}
		u.Isolate = &on
		return nil
	}}
	upstreamOptions["proof_ttl"] = leniency("proof_ttl", func(u *Upstream) *caddy.Duration { return &u.ProofTTL })
}
