package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// countedConn counts what is sent, and leaves the kernel's copy to the kernel.
type countedConn struct {
	*net.TCPConn
	sent *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func (c countedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.sent.Add(n)
	return n, err
}

// serveFiles is the plain net/http server that blobs are compared with: over
// cleartext and over TLS.
func serveFiles(dir, address, secure, certificate string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/blobs/", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(filepath.Join(dir, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	go func() {
		s := &http.Server{Addr: secure, Handler: mux, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
		fatal(s.ListenAndServeTLS(certificate, certificate))
	}()
	fatal(http.ListenAndServe(address, mux))
}
