package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
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
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	defer s.Close()
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	at.Host = net.JoinHostPort("localhost", at.Port())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	down := false
	transports := New(Options{Now: time.Now})
	// The resolver of the hosts file always answers, so the failure is made here.
	ask := func() error {
		transports.CloseIdle()
		resp, err := transports.Home.RoundTrip(&http.Request{URL: at, Host: at.Host, Header: http.Header{}})
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	d := &dialer{clock: func() time.Time { return now }}
	d.Resolver = noDNS()
	d.Timeout = 5 * time.Second
	transports.Home.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !down {
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
	down = true
	now = now.Add(addressGood - time.Second)
	if err := ask(); err != nil {
		t.Errorf("the address is forgotten: %v", err)
	}
	now = now.Add(time.Second)
	if _, ok := errors.AsType[*net.DNSError](ask()); !ok {
		t.Error("the address is never forgotten")
	}
	if requests != 2 {
		t.Errorf("%d requests, want 2", requests)
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
	d := &dialer{clock: time.Now}
	d.Resolver = noDNS()
	d.ControlContext = new(guard).Control
	d.known = map[string]knownAddress{"gone.invalid": {l.Addr().(*net.TCPAddr).AddrPort().Addr(), time.Now()}}
	conn, err := d.dial(t.Context(), "tcp", "gone.invalid:"+port)
	if _, ok := errors.AsType[*AddressError](err); !ok {
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
