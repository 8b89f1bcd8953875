package registrytest

import (
	"fmt"
	"net/http"
	"sync"
)

// Request is one request as the upstream saw it.
type Request struct {
	Host   Host
	Method string
	// Kind is "ping", "manifests", "blobs", "tags", "referrers", "token" or "".
	Kind   string
	Path   string
	Query  string
	Header http.Header
	// Status and Bytes of the answer; 0 until it is finished.
	Status int
	Bytes  int64
}

// String returns host, method and path, for failure messages.
func (r Request) String() string {
	return fmt.Sprintf("%s %s %s?%s -> %d (%d bytes)", r.Host, r.Method, r.Path, r.Query, r.Status, r.Bytes)
}

// Counts are the requests that an upstream saw. All methods are safe for concurrent
// use.
type Counts struct {
	mu       sync.Mutex
	requests []*Request
}

// begin notes a request, and returns what notes its answer.
func (c *Counts) begin(host Host, kind string, r *http.Request) (end func(*countingWriter)) {
	noted := &Request{Host: host, Method: r.Method, Kind: kind, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, noted)
	return func(w *countingWriter) {
		c.mu.Lock()
		defer c.mu.Unlock()
		noted.Status, noted.Bytes = w.status, w.bytes
	}
}

// Requests returns all requests since the start or the last Reset.
func (c *Counts) Requests() []Request {
	return c.selected(func(Request) bool { return true })
}

func (c *Counts) selected(by func(Request) bool) (requests []Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if by(*r) {
			requests = append(requests, *r)
		}
	}
	return requests
}

// Reset forgets the requests so far.
func (c *Counts) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = nil
}

// Count returns how many requests of a method ("" = any) and a kind ("" = any)
// the registry and the token server saw. Requests that the CDN host saw are
// the second half of a redirected one and are left out; see CountHost.
func (c *Counts) Count(method, kind string) int { return c.CountHost("", method, kind) }

// CountHost is Count on one host; "" = the registry and the token server.
func (c *Counts) CountHost(host Host, method, kind string) int {
	return len(c.selected(func(r Request) bool { return r.is(host, method, kind) }))
}

// Accepted is Count without the requests that were answered with 401: what is
// left when the authentication dance is taken away.
func (c *Counts) Accepted(method, kind string) int {
	return len(c.selected(func(r Request) bool { return r.Status != http.StatusUnauthorized && r.is("", method, kind) }))
}

func (r Request) is(host Host, method, kind string) bool {
	return (host == "" && r.Host != HostCDN || r.Host == host) && (method == "" || r.Method == method) && (kind == "" || r.Kind == kind)
}

// BlobBytes returns how many bytes of blobs all hosts have sent.
func (c *Counts) BlobBytes() (n int64) {
	for _, r := range c.Requests() {
		if r.Kind == "blobs" && r.Status < 300 {
			n += r.Bytes
		}
	}
	return n
}

type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *countingWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap serves http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
