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
	// Status and Bytes of the answer so far: who has got some of it finds that counted.
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

// begin notes a request, and returns what its answer is to be written to, which notes that.
func (c *Counts) begin(host Host, kind string, w http.ResponseWriter, r *http.Request) *countingWriter {
	noted := &Request{Host: host, Method: r.Method, Kind: kind, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, noted)
	return &countingWriter{ResponseWriter: w, counts: c, noted: noted}
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

// countingWriter counts before it writes: the client may be done with the answer before
// the handler is.
type countingWriter struct {
	http.ResponseWriter

	counts *Counts
	noted  *Request
}

func (w *countingWriter) note(status, bytes int) {
	w.counts.mu.Lock()
	defer w.counts.mu.Unlock()
	if status != 0 {
		w.noted.Status = status
	}
	if w.noted.Status == 0 {
		w.noted.Status = http.StatusOK
	}
	w.noted.Bytes += int64(bytes)
}

func (w *countingWriter) WriteHeader(status int) {
	w.note(status, 0)
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.note(0, len(p))
	n, err := w.ResponseWriter.Write(p)
	w.note(0, n-len(p))
	return n, err
}

// Unwrap serves http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
