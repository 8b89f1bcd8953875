//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// clusterName is what clients know all gateways of a cluster by.
const clusterName = "cluster.example.com"

// roundRobin is a DNS server that knows one name, whose address is another one of
// clusterAddresses each time.
type roundRobin struct {
	conn net.PacketConn
	next atomic.Int64
}

// startRoundRobin starts a server at an address of its own, since a resolv.conf names no port.
func startRoundRobin(t *testing.T) *roundRobin {
	t.Helper()
	var err error
	for range 20 {
		address := netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(250)), byte(1 + rand.IntN(250))})
		r := new(roundRobin)
		if r.conn, err = net.ListenPacket("udp", net.JoinHostPort(address.String(), "53")); err == nil {
			t.Cleanup(func() { _ = r.conn.Close() })
			go r.serve()
			return r
		}
	}
	t.Fatalf("no address for a DNS server: %v", err)
	return nil
}

func (r *roundRobin) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := r.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if raw, err := r.answer(buffer[:n]); err == nil {
			_, _ = r.conn.WriteTo(raw, from)
		}
	}
}

func (r *roundRobin) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions: %w", len(m.Questions), err)
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	switch {
	case !strings.EqualFold(q.Name.String(), clusterName+"."):
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA: // no answer has IPv6
		at := clusterAddresses[int(r.next.Add(1)-1)%len(clusterAddresses)]
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(at).As4()},
		}}
	}
	return m.Pack()
}

// lead starts a client that finds the gateway by this server: programs by the resolv.conf of
// a node.
func (r *roundRobin) lead(t *testing.T, kind clientKind, g *gateway) client {
	t.Helper()
	n := newNode(t)
	server, _, err := net.SplitHostPort(r.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(n.etc, "resolv.conf")) // which may lead to the machine's own
	writeFile(t, "nameserver "+server+"\n", n.etc, "resolv.conf")
	if kind.name == "docker" {
		return runDocker(t, n.env(), n.within(), "--registry-mirror", g.url())
	}
	started := kind.start(t, g)
	switch c := started.(type) {
	case *containerdClient:
		c.within = n.within()
	case *podman:
		c.within = n.within()
	case *skopeo:
		c.within = n.within()
	case *craneClient:
		c.transport.DialContext = r.dial
	case *resolverClient:
		c.options.UpdateClient = func(used *http.Client) error {
			used.Transport.(*http.Transport).DialContext = r.dial
			return c.use(used)
		}
	default:
		t.Fatalf("%T cannot be led anywhere", c)
	}
	return started
}

func (r *roundRobin) dial(ctx context.Context, network, address string) (net.Conn, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", r.conn.LocalAddr().String())
	}}
	return (&net.Dialer{Resolver: resolver}).DialContext(ctx, network, address)
}
