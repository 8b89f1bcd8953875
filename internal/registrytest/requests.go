package registrytest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
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

func kindOf(host Host, path string) string {
	if host == HostToken {
		return "token"
	}
	if path == "/v2/" || path == "/v2" {
		return "ping"
	}
	for _, kind := range []string{"manifests", "blobs", "referrers"} {
		if strings.Contains(path, "/"+kind+"/") {
			return kind
		}
	}
	if strings.HasSuffix(path, "/tags/list") {
		return "tags"
	}
	return ""
}

// kindOf is the function of the name, for profiles too.
func (s *Server) kindOf(host Host, r *http.Request) string {
	p := s.o.Profile
	if p == nil {
		return kindOf(host, r.URL.Path)
	}
	s.mu.Lock()
	l, ok := s.links[r.URL.RequestURI()]
	s.mu.Unlock()
	switch {
	case ok:
		return l.kind
	case p.Auth.Tokens.at(host, r.URL.Path), p.Abroad != nil && p.Abroad.Auth.Tokens.at(host, r.URL.Path):
		return "token"
	}
	return kindOf(host, r.URL.Path)
}

func (s *Server) record(host Host, r *http.Request) (index int) {
	kind := s.kindOf(host, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		Host: host, Method: r.Method, Kind: kind,
		Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(),
	})
	return len(s.requests) - 1
}

func (s *Server) finish(index int, w *countingWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index < len(s.requests) { // Reset may have come between
		s.requests[index].Status, s.requests[index].Bytes = w.status, w.bytes
	}
}

// Requests returns all requests since the start or the last Reset.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Reset forgets the requests so far.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Count returns how many requests of a method ("" = any) and a kind ("" = any)
// the registry and the token server saw. Requests that the CDN host saw are
// the second half of a redirected one and are left out; see CountHost.
func (s *Server) Count(method, kind string) int {
	return s.CountHost("", method, kind)
}

// CountHost is Count on one host; "" = the registry and the token server.
func (s *Server) CountHost(host Host, method, kind string) (n int) {
	for _, r := range s.Requests() {
		if (host == "" && r.Host != HostCDN || r.Host == host) &&
			(method == "" || r.Method == method) && (kind == "" || r.Kind == kind) {
			n++
		}
	}
	return n
}

// Accepted is Count without the requests that were answered with 401: what is
// left when the authentication dance is taken away.
func (s *Server) Accepted(method, kind string) (n int) {
	for _, r := range s.Requests() {
		if r.Host != HostCDN && r.Status != http.StatusUnauthorized &&
			(method == "" || r.Method == method) && (kind == "" || r.Kind == kind) {
			n++
		}
	}
	return n
}

// BlobBytes returns how many bytes of blobs all hosts have sent.
func (s *Server) BlobBytes() (n int64) {
	for _, r := range s.Requests() {
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

// expired reports whether a token is past its end; s.mu is held.
func (s *Server) expired(token string) bool {
	g, ok := s.tokens[token]
	return !ok || time.Now().After(g.end)
}

// ExpireTokens makes every token issued so far invalid.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}
