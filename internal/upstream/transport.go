package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"time"
)

// transports are the two ways out. home leads to the configured URLs: any
// address, with the client certificate. abroad leads to wherever an upstream
// points: through the guard, without the certificate.
type transports struct{ home, abroad *http.Transport }

func newTransports(o Options, g *guard) transports {
	basic := net.Dialer{Timeout: o.Timeouts.Dial, KeepAlive: 30 * time.Second, Resolver: o.resolver}
	dialing := func(_ context.Context, _, address string, _ syscall.RawConn) error { return o.dialing(address) }
	if o.dialing == nil {
		dialing = func(context.Context, string, string, syscall.RawConn) error { return nil }
	}
	basic.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) (err error) {
		defer caught(&err) // addresses are tried in goroutines of package net
		return dialing(ctx, network, address, c)
	}
	home := newTransport(o, &dialer{Dialer: basic, clock: o.Now})
	home.TLSClientConfig.Certificates = o.Certificates
	home.Proxy = http.ProxyFromEnvironment

	guarded := &dialer{Dialer: basic, clock: o.Now}
	abroad := newTransport(o, guarded)
	if o.Proxy != nil {
		// The connection is the proxy's, which may well be private.
		home.Proxy, abroad.Proxy = http.ProxyURL(o.Proxy), http.ProxyURL(o.Proxy)
	} else {
		guarded.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) (err error) {
			defer caught(&err)
			if err := g.control(ctx, network, address, c); err != nil {
				return err
			}
			return dialing(ctx, network, address, c)
		}
	}
	return transports{home, abroad}
}

func newTransport(o Options, d *dialer) *http.Transport {
	// HTTP/1.1 alone: with HTTP/2 all downloads from one host would share one
	// connection, where one lost packet stops all of them and ranged segments
	// of one blob gain nothing. The few small requests do not need it either.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:         d.dial,
		TLSClientConfig:     &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: o.Timeouts.TLS,
		Protocols:           protocols,
		// A length, a range and a digest are those of the bytes on the wire.
		DisableCompression:     true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         64 << 10,
	}
}

func (t transports) closeIdle() {
	t.home.CloseIdleConnections()
	t.abroad.CloseIdleConnections()
}
