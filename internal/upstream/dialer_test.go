package upstream

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// noDNS is a resolver whose servers are gone.
func noDNS() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no DNS")
	}}
}

// A name that no longer resolves leads to where it led, for a while; one that
// never did does not.
func TestAddressOutlivesDNS(t *testing.T) {
	s, image := newServer(t, registrytest.Options{})
	now := newClock()
	var down atomic.Bool
	u := mustURL(t, s.URL())
	u.Host = net.JoinHostPort("localhost", u.Port())
	c := newClient(t, u.String(), func(o *Options) { o.Now = now.Now })
	// The resolver of the hosts file always answers, so the failure is made here.
	ask := func() error {
		c.network.transports.closeIdle()
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		return err
	}
	d := &dialer{clock: now.Now}
	d.Resolver = noDNS()
	d.Timeout = 5 * time.Second
	c.network.transports.home.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !down.Load() {
			return d.dial(ctx, network, address)
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		d.known[host+".invalid"] = d.known[host]
		d.mu.Unlock()
		return d.dial(ctx, network, net.JoinHostPort(host+".invalid", port))
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	now.add(addressGood - time.Second)
	if err := ask(); err != nil {
		t.Errorf("the address is forgotten: %v", err)
	}
	now.add(time.Second)
	wantClass(t, ask(), oci.ClassDNS)
	if n := s.Count("", ""); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// The address of old passes the same check as one that was just resolved.
func TestRecalledAddressIsGuarded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	now := newClock()
	c := newClient(t, "https://registry.example", func(o *Options) { o.Now = now.Now })
	d := &dialer{clock: now.Now}
	d.Resolver = noDNS()
	d.ControlContext = c.network.transports.guard.control
	d.known = map[string]knownAddress{"gone.invalid": {l.Addr().(*net.TCPAddr).AddrPort().Addr(), now.Now()}}
	conn, err := d.dial(t.Context(), "tcp", "gone.invalid:"+port)
	if _, ok := errors.AsType[*addressError](err); !ok {
		t.Errorf("got %v, %v", conn, err)
	}
}

func TestAddressesAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := &dialer{clock: time.Now}
	for i := range 2 * maxAddresses {
		d.remember(string(rune('a'+i%26))+time.Duration(i).String(), conn)
	}
	d.remember("127.0.0.1", conn)
	if n := len(d.known); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
}
