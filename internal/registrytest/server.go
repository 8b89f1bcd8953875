package registrytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Auth is how the registry authenticates.
type Auth int

// The kinds of authentication.
const (
	AuthNone   Auth = iota
	AuthBasic       // every request needs Username and Password
	AuthBearer      // every request needs a token from the token server
)

// Options make a Server. The zero value is an open registry on plain HTTP that
// sends blobs itself and knows the referrers API.
type Options struct {
	Auth Auth
	// Username and Password are required by AuthBasic, and by the token server
	// of AuthBearer if they are set; else it gives tokens to anybody.
	Username, Password string
	// TokenLifetime is sent as expires_in and enforced; default 300 s.
	TokenLifetime time.Duration
	// CDN redirects (307) GETs of blobs that exist to a second server on another
	// address.
	CDN bool
	// TLS serves all hosts over TLS; see Server.CertPool.
	TLS bool
	// HTTP2 lets clients speak HTTP/2 over TLS.
	HTTP2 bool
	// Certificate takes the place of the usual one, which is good.
	Certificate *tls.Certificate
	// NoReferrers answers the referrers API with 404, as older registries do.
	NoReferrers bool
	// Profile answers as a real registry does. Username, Password, Auth, CDN and
	// NoReferrers have no meaning then.
	Profile *Profile
}

// Server is one fake upstream. All methods are safe for concurrent use.
type Server struct {
	o                    Options
	end                  context.CancelFunc // of the contexts of requests
	registry, cdn, token *httptest.Server

	mu       sync.Mutex
	repos    map[string]*repository
	requests []Request
	tokens   map[string]grant
	links    map[string]link // by path and query
	hook     Hook
	rules    []*activeRule
	issued   int

	doors []*door
}

type repository struct {
	tags      map[string]digest.Digest
	manifests map[digest.Digest]manifest
	blobs     map[digest.Digest]func() []byte
	// What a Profile looks at: who may see it, the tags in the order in which they
	// came, what was given out, and what the manifests among that name.
	visibility   Visibility
	order        []string
	given, named map[digest.Digest]bool
}

type manifest struct {
	mediaType string
	raw       []byte
}

// Hook is called in place of every answer, on all hosts; next gives the normal
// one. It injects faults: write something else, wait, cut the connection with
// panic(http.ErrAbortHandler), or wrap w.
type Hook func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)

// New starts a Server that is closed at the end of the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.closeWithin(closeTime) {
			t.Errorf("registrytest: a handler has not returned %v after the end of the test: what it waits for has to end with that, see Hold", closeTime)
		}
	})
	return s
}

// closeTime is how long handlers may take to return when a test has ended.
const closeTime = 10 * time.Second

// closeWithin closes the Server, and reports whether every handler has returned in time.
func (s *Server) closeWithin(limit time.Duration) bool {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.Close()
	}()
	select {
	case <-closed:
		return true
	case <-time.After(limit):
		return false
	}
}

// Listen starts a Server on addr without a test around it. The caller closes it.
func Listen(addr string, o Options) (*Server, error) {
	if o.TokenLifetime == 0 {
		o.TokenLifetime = 300 * time.Second
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{end: end, o: o, repos: map[string]*repository{}, tokens: map[string]grant{}, links: map[string]link{}}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s.registry = s.serve(ctx, HostRegistry, s.serveRegistry, listener)
	s.cdn = s.serve(ctx, HostCDN, s.serveBlobOfCDN, nil)
	s.token = s.serve(ctx, HostToken, s.serveToken, nil)
	return s, nil
}

func (s *Server) serve(ctx context.Context, host Host, h http.HandlerFunc, l net.Listener) *httptest.Server {
	server := httptest.NewUnstartedServer(s.counted(host, h))
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	if l != nil {
		_ = server.Listener.Close()
		server.Listener = l
	}
	d := newDoor(server.Listener)
	server.Listener = d
	s.doors = append(s.doors, d)
	if s.o.TLS {
		server.EnableHTTP2 = s.o.HTTP2
		if s.o.Certificate != nil {
			server.TLS = &tls.Config{Certificates: []tls.Certificate{*s.o.Certificate}}
		}
		server.StartTLS()
	} else {
		server.Start()
	}
	return server
}

// Close cuts all connections, ends the contexts of all requests and stops all hosts. It
// waits for the handlers. Later calls do nothing.
func (s *Server) Close() {
	s.end()
	for _, server := range []*httptest.Server{s.registry, s.cdn, s.token} {
		server.CloseClientConnections()
		server.Close()
	}
}

// CutConnections cuts those that are open now; new ones are welcome.
func (s *Server) CutConnections() {
	for _, server := range []*httptest.Server{s.registry, s.cdn, s.token} {
		server.CloseClientConnections()
	}
}

// Pause makes every host cut each connection without an answer until the
// returned function is called: the upstream is down, its address is kept.
func (s *Server) Pause() (resume func()) {
	previous := s.Hook(func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) })
	s.CutConnections()
	return func() { s.Hook(previous) }
}

// Hook installs h (nil = none) and returns the one before.
func (s *Server) Hook(h Hook) (previous Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous, s.hook = s.hook, h
	return previous
}

// URL returns the registry's base URL, such as http://127.0.0.1:5000.
func (s *Server) URL() string { return s.registry.URL }

// Addr returns host:port of the registry.
func (s *Server) Addr() string { return s.registry.Listener.Addr().String() }

// CDNURL and TokenURL return the base URLs of the other two hosts.
func (s *Server) CDNURL() string { return s.cdn.URL }

// TokenURL returns the realm of the bearer challenge.
func (s *Server) TokenURL() string { return s.token.URL + "/token" }

// CertPool returns the authority of a TLS server's certificates.
func (s *Server) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.registry.Certificate())
	return pool
}

// Certificate returns the authority, for tests that write it to a file.
func (s *Server) Certificate() *x509.Certificate { return s.registry.Certificate() }

// TLSConfig returns the registry's TLS configuration, to ask for client
// certificates before the first request; nil without TLS.
func (s *Server) TLSConfig() *tls.Config { return s.registry.TLS }

func (s *Server) counted(host Host, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		index := s.record(host, r)
		counter := &countingWriter{ResponseWriter: w}
		defer func() { s.finish(index, counter) }()
		if hook := s.hookFor(host, r); hook != nil {
			hook(counter, r, next)
			return
		}
		next(counter, r)
	})
}

func (s *Server) absolute(base *httptest.Server, path string, query url.Values) string {
	u := base.URL + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	return u
}
