package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

const (
	// addressGood is how long an address serves that DNS no longer tells.
	addressGood = 10 * time.Minute
	// maxAddresses bounds them: redirects may lead to any number of hosts.
	maxAddresses = 256
)

// dialer connects, and remembers where to: when a name does not resolve, the
// address that last worked for it is used once more. That address goes through
// the same control as any other. Safe for concurrent use.
type dialer struct {
	net.Dialer

	clock func() time.Time
	mu    sync.Mutex
	known map[string]knownAddress // by host
}

type knownAddress struct {
	addr netip.Addr
	seen time.Time
}

// dial is an http.Transport.DialContext.
func (d *dialer) dial(ctx context.Context, network, address string) (_ net.Conn, err error) {
	defer panics.Catch(&err)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, address)
	var unresolved *net.DNSError
	switch {
	case err == nil:
		d.remember(host, conn)
	case errors.As(err, &unresolved) && ctx.Err() == nil:
		if addr, ok := d.recall(host); ok {
			return d.DialContext(ctx, network, net.JoinHostPort(addr.String(), port))
		}
	}
	return conn, err
}

func (d *dialer) remember(host string, conn net.Conn) {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || net.ParseIP(host) != nil {
		return
	}
	addr, ok := netip.AddrFromSlice(at.IP)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.known[host]; !ok && len(d.known) >= maxAddresses {
		for other := range d.known { // any: who is dialed again is known again
			delete(d.known, other)
			break
		}
	}
	if d.known == nil {
		d.known = map[string]knownAddress{}
	}
	d.known[host] = knownAddress{addr.Unmap(), d.clock()}
}

func (d *dialer) recall(host string) (netip.Addr, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.known[host]
	age := d.clock().Sub(k.seen)
	return k.addr, ok && age >= 0 && age < addressGood
}
