package egress

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// TestGuardAddresses asks for each address who may lead to it: nobody, only who is
// allowed to by allow_address, the operator by writing a name that resolves there, a
// connection that came from there, or anybody.
func TestGuardAddresses(t *testing.T) {
	const (
		never = iota
		allowedOnly
		configured
		own
		anybody
	)
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for want, addresses := range map[int]string{
		anybody: `8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.167.1.1 223.255.255.255 168.63.129.15
			2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1`,
		own: `10.0.0.1 10.1.255.255 100.64.0.1 100.127.255.255 100.100.100.201 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1
			192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 240.0.0.1 ::7f00:1 ::ffff:0:7f00:1
			::ffff:10.0.0.1 64:ff9b::10.1.2.3 64:ff9b:1::1 2002:a00:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:db8::1 3fff::1
			4000::1 fc00::1 fd00:2::5 fd00:ec3::254 fd20:ce::253 fec0::1`,
		configured:  "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::",
		allowedOnly: "169.254.1.1 169.254.169.250 fe80::1 ::ffff:169.254.1.1 64:ff9b::a9fe:101",
		never: `0.0.0.0 0.1.2.3 :: 255.255.255.255 224.0.0.1 239.255.255.255 ff02::1 ff0e::1 fe80::1%eth0 2606:4700::1%eth0
			169.254.169.254 169.254.170.2 169.254.170.23 169.254.0.23 169.254.42.42 100.100.100.200 168.63.129.16 192.0.0.192
			fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fd00:a9fe:a9fe::1 fd00:100::100:200
			fe80::a9fe:a9fe ::ffff:169.254.169.254 ::ffff:168.63.129.16 64:ff9b::a9fe:a9fe 64:ff9b::a83f:8110 2002:a9fe:a9fe::1
			2002:6464:64c8:: ::ffff:0.0.0.0`,
	} {
		for address := range strings.FieldsSeq(addresses) {
			to := netip.AddrPortFrom(netip.MustParseAddr(address), 443)
			from := netip.AddrPortFrom(embedded(to.Addr()), 443)
			for _, try := range []struct {
				name  string
				least int
				allow []netip.Prefix
				by    Leader
			}{
				{"allowed", allowedOnly, everything, Leader{}},
				{"configured", configured, nil, Leader{Configured: true}},
				{"from there", own, nil, Leader{From: from}},
				{"from another port", anybody, nil, Leader{From: netip.AddrPortFrom(from.Addr(), 80)}},
				{"from beside", anybody, nil, Leader{From: netip.AddrPortFrom(from.Addr().Next(), 443)}},
				{"from nobody", anybody, nil, Leader{}},
			} {
				g := guard{allow: try.allow}
				err := g.Control(try.by.With(t.Context()), "tcp", net.JoinHostPort(address, "443"), nil)
				if ok := want >= try.least; (err == nil) != ok {
					t.Errorf("%s, %s: %v, want allowed %v", address, try.name, err, ok)
				}
				var refused *AddressError
				if err != nil && !errors.As(err, &refused) {
					t.Errorf("%s: %T", address, err)
				}
			}
		}
	}
	if err := new(guard).Control(t.Context(), "unix", "/run/x.sock", nil); err == nil {
		t.Error("a path is no address")
	}
}

// TestLiteralCounts asks what an address in the URL itself opens.
func TestLiteralCounts(t *testing.T) {
	for _, test := range []struct {
		url, from, to string
		want          bool
	}{
		{"http://127.0.0.1:5000", "127.0.0.1:5000", "127.0.0.1:80", true},
		{"http://127.0.0.1:5000", "127.0.0.1:5000", "[::ffff:127.0.0.1]:80", true},
		{"http://127.0.0.1:5000", "127.0.0.1:5000", "127.0.0.2:5000", false},
		{"http://127.0.0.1:5000", "127.0.0.1:5000", "[::1]:5000", false},
		// Whom it has led to is not it.
		{"http://127.0.0.1:5000", "8.8.8.8:443", "127.0.0.1:80", false},
		{"http://127.0.0.1:5000", "10.0.0.1:443", "10.0.0.1:80", false},
		{"http://[::1]:5000", "[::1]:5000", "[::1]:80", true},
		{"http://10.0.0.1:5000", "10.0.0.1:5000", "10.0.0.1:80", true},
		{"http://10.0.0.1:5000", "10.0.0.1:5000", "10.0.0.2:5000", false},
		// A name is none.
		{"http://localhost:5000", "127.0.0.1:5000", "127.0.0.1:5000", false},
		{"http://localhost:5000", "[::1]:5000", "127.0.0.1:80", false},
		{"http://hub.test:5000", "127.0.0.1:5000", "127.0.0.1:5000", false},
		{"http://hub.test:5000", "10.0.0.1:5000", "10.0.0.1:5000", true},
		{"http://hub.test:5000", "10.0.0.1:5000", "10.0.0.1:80", false},
		// Nor is what is refused in any case.
		{"http://169.254.1.1:5000", "169.254.1.1:5000", "169.254.1.1:80", false},
		{"http://169.254.169.254", "169.254.169.254:80", "169.254.169.254:80", false},
		{"http://0.0.0.0:5000", "127.0.0.1:5000", "127.0.0.1:80", false},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		by := Leader{From: netip.MustParseAddrPort(test.from), Literal: LiteralOf(u).Addr()}
		err = new(guard).Check(netip.MustParseAddrPort(test.to), by)
		if (err == nil) != test.want {
			t.Errorf("%s, connected to %s, leads to %s: %v, want allowed %v", test.url, test.from, test.to, err, test.want)
		}
	}
}
