package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// transports are the ways out. home leads to the configured URLs: any address,
// with the client certificate. abroad leads to wherever an upstream points: through
// the guard, without the certificate. proxied does the same through an HTTP proxy,
// which resolves names itself, and whose own address may well be private.
type transports struct {
	home, abroad, proxied *http.Transport
	proxy                 func(*http.Request) (*url.URL, error)
}

func newTransports(o Options, g *guard) transports {
	t := transports{proxy: o.environment}
	switch {
	case o.Proxy != nil:
		t.proxy = http.ProxyURL(o.Proxy)
	case t.proxy == nil:
		t.proxy = http.ProxyFromEnvironment
	}
	basic := net.Dialer{Timeout: o.Timeouts.Dial, KeepAlive: 30 * time.Second, Resolver: o.resolver}
	dialing := func(_ context.Context, _, address string, _ syscall.RawConn) error { return o.dialing(address) }
	if o.dialing == nil {
		dialing = func(context.Context, string, string, syscall.RawConn) error { return nil }
	}
	basic.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) (err error) {
		defer caught(&err) // addresses are tried in goroutines of package net
		return dialing(ctx, network, address, c)
	}
	t.home = newTransport(o, &dialer{Dialer: basic, clock: o.Now})
	t.home.TLSClientConfig.Certificates = o.Certificates
	t.proxied = newTransport(o, &dialer{Dialer: basic, clock: o.Now})
	t.home.Proxy, t.proxied.Proxy = t.proxy, t.proxy

	guarded := &dialer{Dialer: basic, clock: o.Now}
	guarded.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) (err error) {
		defer caught(&err)
		if err := g.control(ctx, network, address, c); err != nil {
			return err
		}
		return dialing(ctx, network, address, c)
	}
	t.abroad = newTransport(o, guarded)
	return t
}

// to returns the way to a URL; home says that it is a configured one.
func (t transports) to(at *url.URL, home bool) *http.Transport {
	if home {
		return t.home
	}
	if proxy, err := t.proxy(&http.Request{URL: at}); err == nil && proxy != nil {
		return t.proxied
	}
	return t.abroad
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
	for _, way := range []*http.Transport{t.home, t.abroad, t.proxied} {
		way.CloseIdleConnections()
	}
}
