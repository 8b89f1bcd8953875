package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a DNS server on 127.0.0.1 that knows the given addresses.
func names(t *testing.T, addresses map[string][]string) *net.Resolver {
	t.Helper()
	return resolver(t, func(name string) []string { return addresses[name] })
}

// resolver is a DNS server on 127.0.0.1 that asks lookUp for the addresses of a
// name, in lower case and without the last dot; none = there is no such name.
func resolver(t *testing.T, lookUp func(name string) []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			found := lookUp(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
			m.Response, m.Additionals = true, nil
			if len(found) == 0 {
				m.RCode = dnsmessage.RCodeNameError
			}
			for _, s := range found {
				var body dnsmessage.ResourceBody
				switch a := netip.MustParseAddr(s); {
				case q.Type == dnsmessage.TypeA && a.Is4():
					body = &dnsmessage.AResource{A: a.As4()}
				case q.Type == dnsmessage.TypeAAAA && !a.Is4():
					body = &dnsmessage.AAAAResource{AAAA: a.As16()}
				default:
					continue
				}
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: body,
				})
			}
			if raw, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(raw, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// noNames is a resolver without a server.
func noNames() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no DNS")
	}}
}
