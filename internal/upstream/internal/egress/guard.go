package egress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// guard decides which addresses are connected to. What no option allows is refused to
// the configured URLs too, and link-local addresses are, unless they are allowed:
// whoever writes the DNS of an upstream must not get at what lies beside this machine.
// An upstream may lead to public addresses, to those that are allowed, and to its own
// address; see leader.owns.
type guard struct {
	allow []netip.Prefix
}

// Leader is who leads to an address.
type Leader struct {
	// Configured says that the URL is the operator's own word: one of the upstream, or a
	// token server at one of the auth origins.
	Configured bool
	// From is the address of the connection that has carried the redirect or the
	// challenge; zero = it is not known, since a proxy has made that connection.
	From netip.AddrPort
	// Literal is the address that stands in the upstream's URL; zero = a name does.
	Literal netip.Addr
}

type leaderKey struct{}

// With returns a context for connections that are made since l leads there.
func (l Leader) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, leaderKey{}, l)
}

// owns reports whether an address is the leader's own: that of the very connection that
// has carried the redirect, at the same port. What the upstream's name resolves to now
// does not count: its DNS may say anything. At the loopback each port is another service
// of this machine, so that a name that resolves there, localhost too, opens nothing. An
// address that stands in the upstream's URL is the operator's word, and counts at any
// port: a registry's token server and storage often lie at others.
func (l Leader) owns(to netip.AddrPort) bool {
	if to.Addr() == l.Literal {
		return l.From.Addr() == l.Literal
	}
	return to == l.From && !to.Addr().IsLoopback()
}

// AddressError is an address, or a URL, that is refused.
type AddressError struct{ reason string }

// Error implements error.
func (e *AddressError) Error() string { return e.reason }

// Control is a net.Dialer.ControlContext: it sees the address after resolution,
// at the moment the connection is made to precisely that address, so that
// neither names nor odd spellings nor rebinding get around it.
func (g *guard) Control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &AddressError{"address is no IP address"}
	}
	by, _ := ctx.Value(leaderKey{}).(Leader)
	return g.Check(to, by)
}

// Check refuses an address that a leader must not lead to.
func (g *guard) Check(to netip.AddrPort, by Leader) error {
	addr := to.Addr()
	if addr.Zone() != "" {
		return &AddressError{fmt.Sprintf("address %s has a zone", addr)}
	}
	addr = embedded(addr)
	switch {
	case isRefused(addr):
		return &AddressError{fmt.Sprintf("address %s is never connected to", addr)}
	case slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(addr) }):
		return nil
	case addr.IsLinkLocalUnicast():
	case by.Configured, IsPublic(addr), by.owns(netip.AddrPortFrom(addr, to.Port())):
		return nil
	}
	return &AddressError{fmt.Sprintf("address %s is not public and not allowed: allow_address %[1]s allows it", addr)}
}

// lead checks what can be told of a URL without resolving its host. It is all there is
// when an HTTP proxy resolves for us, which may well know names of the inside.
func (g *guard) lead(u *url.URL, by Leader, proxied bool) error {
	if to := LiteralOf(u); to.IsValid() {
		return g.Check(to, by)
	}
	if isOdd(u.Hostname()) {
		return &AddressError{"host is an address in an unusual spelling"}
	}
	if proxied && !by.Configured && isInside(u.Hostname()) {
		return &AddressError{"host is a name of the inside, which the proxy resolves"}
	}
	return nil
}

// isOdd reports whether resolvers may read a host as an address, such as "0x7f.1" and
// "2130706433", as browsers do (WHATWG URL, "ends in a number checker").
func isOdd(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	last := host[strings.LastIndex(host, ".")+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

// LiteralOf returns the address and port that stand in a URL; zero = a name does.
func LiteralOf(u *url.URL) netip.AddrPort {
	addr, err := netip.ParseAddr(plainHost(u.Hostname()))
	if err != nil {
		return netip.AddrPort{}
	}
	port, _ := strconv.ParseUint(OriginOf(u).Port, 10, 16)
	return netip.AddrPortFrom(embedded(addr), uint16(port))
}

// CheckURL refuses what no request may go to, wherever the URL comes from.
func CheckURL(u *url.URL) error {
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
