package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

// Transports are the ways out. home leads to the configured URLs, with the client
// certificate, abroad to wherever an upstream points, without it; both through the
// guard. The proxied ones do the same through an HTTP proxy, which resolves names
// itself, and whose own address may well be private.
type Transports struct {
	Guard                                    guard
	Home, Abroad, proxiedHome, proxiedAbroad *http.Transport
	proxy                                    func(*http.Request) (*url.URL, error)
}

// New returns transports that have no connections yet.
func New(o Options) *Transports {
	t := &Transports{proxy: o.Environment, Guard: guard{allow: o.AllowAddresses}}
	switch {
	case o.Proxy != nil:
		t.proxy = http.ProxyURL(o.Proxy)
	case t.proxy == nil:
		t.proxy = http.ProxyFromEnvironment
	}
	toProxy := func(context.Context, string, string, syscall.RawConn) error { return nil }
	t.Home, t.Abroad = newTransport(o, newDialer(o, t.Guard.Control)), newTransport(o, newDialer(o, t.Guard.Control))
	t.proxiedHome, t.proxiedAbroad = newTransport(o, newDialer(o, toProxy)), newTransport(o, newDialer(o, toProxy))
	t.proxiedHome.Proxy, t.proxiedAbroad.Proxy = t.proxy, t.proxy
	t.Home.TLSClientConfig.Certificates = o.Certificates
	t.proxiedHome.TLSClientConfig.Certificates = o.Certificates
	return t
}

// newDialer returns a dialer that connects where control lets it.
func newDialer(o Options, control func(context.Context, string, string, syscall.RawConn) error) *dialer {
	d := &dialer{Dialer: net.Dialer{Timeout: o.Dial, KeepAlive: 30 * time.Second, Resolver: o.Resolver}, clock: o.Now}
	d.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) (err error) {
		defer panics.Catch(&err) // addresses are tried in goroutines of package net
		if err := control(ctx, network, address, c); err != nil || o.Dialing == nil {
			return err
		}
		return o.Dialing(address)
	}
	return d
}

// Lead checks what can be told of a URL that somebody leads to, before it is asked.
func (t *Transports) Lead(to *url.URL, by Leader) error {
	return t.Guard.lead(to, by, t.isProxied(to))
}

// isProxied reports whether a proxy leads to a URL.
func (t *Transports) isProxied(at *url.URL) bool {
	proxy, err := t.proxy(&http.Request{URL: at})
	return err != nil || proxy != nil // a transport tells of the error
}

// To returns the way to a URL; home says that it is a configured one.
func (t *Transports) To(at *url.URL, home bool) (way *http.Transport, proxied bool) {
	switch proxied = t.isProxied(at); {
	case home && proxied:
		return t.proxiedHome, true
	case home:
		return t.Home, false
	case proxied:
		return t.proxiedAbroad, true
	}
	return t.Abroad, false
}

func newTransport(o Options, d *dialer) *http.Transport {
	// HTTP/1.1 alone: with HTTP/2 all downloads from one host would share one
	// connection, where one lost packet stops all of them and ranged segments
	// of one blob gain nothing. The few small requests do not need it either.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dial := d.dial
	if o.DialContext != nil {
		dial = o.DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: o.TLS,
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

// CloseIdle closes the connections that nobody uses.
func (t *Transports) CloseIdle() {
	for _, way := range []*http.Transport{t.Home, t.Abroad, t.proxiedHome, t.proxiedAbroad} {
		way.CloseIdleConnections()
	}
}
