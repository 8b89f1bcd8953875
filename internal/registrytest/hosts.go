package registrytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"time"
)

// Host names the server that a request reached.
type Host string

// The hosts of one upstream.
const (
	HostRegistry Host = "registry"
	HostCDN      Host = "cdn"
	HostToken    Host = "token"
)

// Hosts are the servers of one upstream. All methods are safe for concurrent use.
type Hosts struct {
	end                  context.CancelFunc // of the contexts of requests
	registry, cdn, token *httptest.Server
	doors                []*door
}

func (h *Hosts) start(o Options, l net.Listener, serve func(Host, http.ResponseWriter, *http.Request)) {
	var ctx context.Context
	ctx, h.end = context.WithCancel(context.Background())
	start := func(host Host, l net.Listener) *httptest.Server {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(host, w, r) }))
		server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
		if l == nil && o.Network != nil {
			l = o.Network.Listen()
		}
		if l != nil {
			_ = server.Listener.Close()
			server.Listener = l
		}
		d := newDoor(server.Listener)
		server.Listener = d
		h.doors = append(h.doors, d)
		if !o.TLS {
			server.Start()
			return server
		}
		server.EnableHTTP2 = o.HTTP2
		if o.Certificate != nil {
			server.TLS = &tls.Config{Certificates: []tls.Certificate{*o.Certificate}}
		}
		server.StartTLS()
		return server
	}
	// The registry comes last: it sends clients to the others.
	h.cdn, h.token = start(HostCDN, nil), start(HostToken, nil)
	h.registry = start(HostRegistry, l)
}

// closeTime is how long handlers may take to return when a test has ended.
const closeTime = 10 * time.Second

// closeWithin closes the hosts, and reports whether every handler has returned in time.
func (h *Hosts) closeWithin(limit time.Duration) bool {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.Close()
	}()
	select {
	case <-closed:
		return true
	case <-time.After(limit):
		return false
	}
}

// Close cuts all connections, ends the contexts of all requests and stops all hosts. It
// waits for the handlers. Later calls do nothing.
func (h *Hosts) Close() {
	h.end()
	for _, server := range []*httptest.Server{h.registry, h.cdn, h.token} {
		server.CloseClientConnections()
		server.Close()
	}
}

// CutConnections cuts those that are open now; new ones are welcome.
func (h *Hosts) CutConnections() {
	for _, server := range []*httptest.Server{h.registry, h.cdn, h.token} {
		server.CloseClientConnections()
	}
}

// Connections returns how many connections all hosts have accepted so far,
// whatever came of them.
func (h *Hosts) Connections() (n int) {
	for _, d := range h.doors {
		d.mu.Lock()
		n += d.count
		d.mu.Unlock()
	}
	return n
}

// Refuse closes all hosts and cuts their connections: the system refuses new
// ones, until Accept is called.
func (h *Hosts) Refuse() {
	for _, d := range h.doors {
		d.shut()
	}
	h.CutConnections()
}

// Accept undoes Refuse.
func (h *Hosts) Accept() error {
	for _, d := range h.doors {
		if err := d.open(); err != nil {
			return err
		}
	}
	return nil
}

// URL returns the registry's base URL, such as http://127.0.0.1:5000.
func (h *Hosts) URL() string { return h.registry.URL }

// Addr returns host:port of the registry.
func (h *Hosts) Addr() string { return h.registry.Listener.Addr().String() }

// CDNURL returns the base URL of the host that blobs are redirected to.
func (h *Hosts) CDNURL() string { return h.cdn.URL }

// TokenURL returns the realm of the bearer challenge.
func (h *Hosts) TokenURL() string { return h.token.URL + "/token" }

// CertPool returns the authority of a TLS server's certificates.
func (h *Hosts) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(h.registry.Certificate())
	return pool
}

// Certificate returns the authority, for tests that write it to a file.
func (h *Hosts) Certificate() *x509.Certificate { return h.registry.Certificate() }

// TLSConfig returns the registry's TLS configuration, to ask for client
// certificates before the first request; nil without TLS.
func (h *Hosts) TLSConfig() *tls.Config { return h.registry.TLS }
