package egress

import (
	"net"
	"net/netip"
	"strings"
)

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

// IsPublic reports whether an address is globally reachable, by the IANA
// special-purpose address registries.
func IsPublic(a netip.Addr) bool {
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
	return !inAny(a, special)
}

// isRefused reports whether nothing is ever connected to an address: it is none of one
// machine, or what answers there gives out the secrets of the machine that asks. No
// option allows it, since a wide prefix in allow_address (100.64.0.0/10) would open
// metadata by accident.
func isRefused(a netip.Addr) bool {
	return !a.IsValid() || a.IsMulticast() || inAny(a, unspecified) || inAny(a, metadata)
}

// inAny reports whether one of the prefixes of a list contains an address.
func inAny(a netip.Addr, prefixes string) bool {
	for prefix := range strings.FieldsSeq(prefixes) {
		if netip.MustParsePrefix(prefix).Contains(a) {
			return true
		}
	}
	return false
}

// IsLocalhost reports whether a name stands for the loopback wherever it is resolved (RFC
// 6761, section 6.3).
func IsLocalhost(host string) bool {
	host = plainHost(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// plainHost returns the one spelling of a host's name.
func plainHost(host string) string { return strings.TrimRight(strings.ToLower(host), ".") }

// isInside reports whether a name leads inside wherever it is resolved: the names that
// are reserved for that (RFC 6761, RFC 6762, RFC 8375, "internal" of ICANN), those of
// services of Kubernetes, and those of one word, which no registrar sells.
func isInside(host string) bool {
	host = plainHost(host)
	if !strings.Contains(host, ".") {
		return true
	}
	for suffix := range strings.FieldsSeq("localhost localdomain local internal home.arpa svc") {
		if host == suffix || strings.HasSuffix(host, "."+suffix) {
			return true
		}
	}
	return false
}

// AddrPortOf returns the address that a connection is made to; zero = none.
func AddrPortOf(conn net.Conn) netip.AddrPort {
	if conn == nil {
		return netip.AddrPort{}
	}
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := at.AddrPort()
	return netip.AddrPortFrom(embedded(ap.Addr()), ap.Port())
}

const (
	specialIPv4 = `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
		192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
		203.0.113.0/24 224.0.0.0/4 240.0.0.0/4`
	specialIPv6 = `2001::/23 2001:db8::/32 3fff::/20`
	// Linux takes 0.0.0.0 and :: for this machine.
	unspecified = `0.0.0.0/8 255.255.255.255/32 ::/128`
	// metadata are where clouds give a machine its credentials and settings: AWS, Google,
	// Azure and most others; the containers of AWS; Tencent; Scaleway; Alibaba; Azure's
	// host agent; Oracle; then the same over IPv6, Akamai and OpenStack too.
	metadata = `169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 169.254.0.23/32 169.254.10.10/32
		169.254.42.42/32 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32
		fd00:ec2::/32 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128 fd00:42::42/128 fd00:a9fe:a9fe::1/128
		fd00:100::100:200/128 fe80::a9fe:a9fe/128`
)
