package caddymodule

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// wire is a connection without a kernel: one request comes in again and again, and
// nobody reads the answers.
type wire struct {
	net.Conn // for what a server does not ask for

	request   string
	left      int
	interrupt chan struct{}
	closed    chan struct{}
}

// Read returns one request. A server that looks whether the client is still there, for
// a byte, waits until it no longer wants to know.
func (w *wire) Read(p []byte) (int, error) {
	switch {
	case len(p) == 1:
		<-w.interrupt
		return 0, os.ErrDeadlineExceeded
	case w.left == 0:
		return 0, io.EOF
	}
	w.left--
	return copy(p, w.request), nil
}

func (w *wire) Write(p []byte) (int, error) { return len(p), nil }
func (w *wire) Close() error                { close(w.closed); return nil }
func (w *wire) LocalAddr() net.Addr         { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000} }

func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

func (w *wire) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		w.interrupt <- struct{}{}
	}
	return nil
}

// wires are a listener with one connection.
type wires struct {
	net.Listener // for what a server does not ask for

	one chan net.Conn
}

func (l wires) Accept() (net.Conn, error) {
	if c, ok := <-l.one; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l wires) Close() error   { return nil }
func (l wires) Addr() net.Addr { return &net.TCPAddr{} }

// BenchmarkManifestHit measures all of a server but the kernel, beside what Caddy
// itself answers with as much.
func BenchmarkManifestHit(b *testing.B) {
	upstream := registrytest.New(b, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 1, 1000)
	s := newSite(b)
	s.global += "\nmetrics\nservers {\ntimeouts {\nwrite_idle 1m\n}\n}"
	const base = "/v2/proxy-docker.io/library/alpine/manifests/"
	s.load("log {\noutput file " + filepath.Join(b.TempDir(), "access.log") + " {\nroll_uncompressed\nroll_keep 1\n}\n}\n" +
		"handle /respond {\nheader Content-Type application/json\nrespond `" + string(image.IndexBytes) + "`\n}\n" +
		"registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\ntag_ttl 1h\n}\n}")
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	var handler http.Handler
	for _, server := range app.(*caddyhttp.App).Servers {
		handler = server
	}
	digest := base + image.Index.Digest.String()
	for _, of := range []struct{ name, method, path string }{
		{"tag", http.MethodGet, base + "3"},
		{"digest", http.MethodGet, digest},
		{"head-tag", http.MethodHead, base + "3"},
		{"head-digest", http.MethodHead, digest},
		{"respond", http.MethodGet, "/respond"},
		{"head-respond", http.MethodHead, "/respond"},
	} {
		b.Run(of.name, func(b *testing.B) {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, httptest.NewRequest(of.method, "http://"+s.addr+of.path, nil))
			if answer.Code != http.StatusOK {
				b.Fatalf("%s: %d", of.path, answer.Code)
			}
			w := &wire{
				request: of.method + " " + of.path + " HTTP/1.1\r\nHost: " + s.addr + "\r\nAccept: */*\r\n\r\n",
				left:    b.N, interrupt: make(chan struct{}), closed: make(chan struct{}),
			}
			one := make(chan net.Conn, 1)
			one <- w
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
				_ = server.Serve(wires{one: one})
			}()
			<-w.closed
			close(one)
		})
	}
}
