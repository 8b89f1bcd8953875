package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Network says how the hosts of an upstream are connected to.
type Network struct {
	// RootCAs are the authorities for every host that this upstream leads to,
	// so they normally include the system's. nil = the system's.
	RootCAs *x509.CertPool
	// Certificates are shown to the origins of the URLs, never to others.
	Certificates []tls.Certificate
	// Proxy is the HTTP proxy for every request, also to where the URLs lead. Names
	// are then resolved there, and the proxy decides which addresses may be reached;
	// names and addresses that tell by themselves that they are of the inside are
	// refused here. nil = what the environment says for each host (HTTPS_PROXY, NO_PROXY).
	Proxy *url.URL
	// AllowAddresses are private addresses that redirects and realms may lead to, and
	// link-local ones that the URLs may lie at.
	AllowAddresses []netip.Prefix
	// DialContext connects without any check of addresses, for tests in a network of their
	// own; nil = by TCP, watched by the guard.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Seams are for tests, which have no DNS of their own otherwise.
type Seams struct {
	Resolver *net.Resolver
	// Dialing is called with each address that is about to be connected to, directly or
	// through a proxy, after the guard has let it pass; its error stops that.
	Dialing func(address string) error
	// Environment is http.ProxyFromEnvironment, which reads the environment once.
	Environment func(*http.Request) (*url.URL, error)
}

// Options make transports.
type Options struct {
	Network
	Seams

	Dial, TLS time.Duration // limits of one connection and of one handshake
	Now       func() time.Time
}
