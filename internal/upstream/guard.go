package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// guard decides which addresses an upstream may lead us to. The configured URLs
// themselves do not pass through it.
type guard struct {
	allow    []netip.Prefix
	hosts    []string // of the configured URLs and auth origins
	resolver *net.Resolver
	own      *memo[[]netip.Addr]
}

// ownGood is how long the addresses of the configured hosts are believed.
const ownGood = 30 * time.Second

// addressError is an address, or a URL, that is refused.
type addressError struct{ reason string }

func (e *addressError) Error() string { return e.reason }

// control is a net.Dialer.ControlContext: it sees the address after resolution,
// at the moment the connection is made to precisely that address, so that
// neither names nor odd spellings nor rebinding get around it.
func (g *guard) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &addressError{"address is no IP address"}
	}
	return g.check(ctx, ap.Addr())
}

func (g *guard) check(ctx context.Context, addr netip.Addr) error {
	if addr.Zone() != "" {
		return &addressError{fmt.Sprintf("address %s has a zone", addr)}
	}
	addr = embedded(addr)
	if isPublic(addr) {
		return nil
	}
	for _, p := range g.allow {
		if p.Contains(addr) {
			return nil
		}
	}
	// Link-local addresses are never an upstream's own: cloud metadata services
	// live there, and the upstream's own DNS could name them.
	if !addr.IsLinkLocalUnicast() && !addr.IsMulticast() && !addr.IsUnspecified() {
		entry, _, err := g.own.get(ctx, "", g.resolve)
		if err != nil {
			return err
		}
		if slices.Contains(entry.value, addr) {
			return nil
		}
	}
	return &addressError{fmt.Sprintf("address %s is not public and not allowed", addr)}
}

func (g *guard) resolve(ctx context.Context) ([]netip.Addr, time.Duration, error) {
	var all []netip.Addr
	for _, host := range g.hosts {
		found, err := g.resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			continue // a host without an address allows none
		}
		for _, a := range found {
			all = append(all, embedded(a))
		}
	}
	return all, ownGood, nil
}

// literal checks what can be told of a URL's host without resolving it. It is
// all there is when an HTTP proxy resolves for us.
func (g *guard) literal(ctx context.Context, u *url.URL) error {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.check(ctx, addr)
	}
	// Resolvers read "0x7f.1" and "2130706433" as addresses, as browsers do
	// (WHATWG URL, "ends in a number checker").
	last := host[strings.LastIndex(host, ".")+1:]
	if last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return &addressError{"host is an address in an unusual spelling"}
	}
	return nil
}

// checkURL refuses what no request may go to, wherever the URL comes from.
func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("scheme is neither http nor https")
	case u.Hostname() == "":
		return errors.New("there is no host")
	case u.User != nil:
		return errors.New("it holds a user name")
	case strings.Contains(u.Hostname(), "%"):
		return errors.New("host has a zone")
	case len(u.Hostname()) > 253 || strings.Trim(u.Hostname(), hostCharacters) != "":
		return errors.New("host is no name of a host")
	case len(u.Port()) > 5:
		return errors.New("port is no number of a port")
	}
	return nil
}

// hostCharacters are those of names and addresses. Names stand in messages, and
// others than these would only be there to be taken for something else.
const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:"

// embedded returns the IPv4 address that an IPv6 address stands for, if any:
// IPv4-mapped, NAT64 (RFC 6052), 6to4 (RFC 3056).
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// isPublic reports whether an address is globally reachable, by the IANA
// special-purpose address registries.
func isPublic(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	special := specialIPv4
	if a.Is6() {
		if !netip.MustParsePrefix("2000::/3").Contains(a) {
			return false
		}
		special = specialIPv6
	}
	for prefix := range strings.FieldsSeq(special) {
		if netip.MustParsePrefix(prefix).Contains(a) {
			return false
		}
	}
	return true
}

const (
	specialIPv4 = `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
		192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
		203.0.113.0/24 224.0.0.0/4 240.0.0.0/4`
	specialIPv6 = `2001::/23 2001:db8::/32 3fff::/20`
)
