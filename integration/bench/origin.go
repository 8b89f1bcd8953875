package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/freeport"
)

const (
	slowLatency = 30 * time.Millisecond
	slowRate    = 50_000_000
	linkRate    = 125_000_000 // 1 Gbit/s
)

// origin is the simulated upstream, a process of its own that listens thrice:
// without limits, with latency and a limit for each connection, and behind an
// uplink that all connections share.
type origin struct {
	*process
	fast, slow, link string // host:port
}

// originStats is what it counts, and when the first byte of each blob's body went
// out, in Unix nanoseconds by the hex of its digest: where it is not without limits.
type originStats struct {
	Requests, Blobs, Bytes int64
	First                  map[string]int64
}

func (b *bench) startOrigin(ctx context.Context) (*origin, error) {
	var addresses []string
	for range 3 {
		a, err := freeport.Address()
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, a)
	}
	if err := os.WriteFile(filepath.Join(b.image.dir, "manifest"), b.image.manifest, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.image.dir, "large"), b.image.largeManifest, 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := b.start(ctx, "http://"+addresses[0]+"/v2/", self, append([]string{"origin", b.image.dir}, addresses...)...)
	if err != nil {
		return nil, err
	}
	return &origin{p, addresses[0], addresses[1], addresses[2]}, nil
}

// stats returns what was counted since the last call.
func (o *origin) stats() (s originStats, err error) {
	answer, err := http.Get("http://" + o.fast + "/stats")
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}

// serveRole runs the process as one of the servers.
func serveRole(role string, args []string) bool {
	switch {
	case role == "origin" && len(args) == 4:
		serveOrigin(args[0], args[1:])
	case role == "bucket" && len(args) == 2:
		serveBucket(args[0], args[1])
	case role == "files" && len(args) == 4:
		serveFiles(args[0], args[1], args[2], args[3])
	case role == "bare" && len(args) == 3:
		serveBare(args[0], args[1], args[2])
	default:
		return false
	}
	return true
}

func serveOrigin(dir string, addresses []string) {
	var requests, blobs, sent atomic.Int64
	var first moments
	manifests := map[string][]byte{}
	for _, name := range []string{"manifest", "large"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			fatal(err)
		}
		manifests[digest.FromBytes(text).String()] = text
		manifests[name] = text
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stats" {
			_ = json.NewEncoder(w).Encode(originStats{requests.Swap(0), blobs.Swap(0), sent.Swap(0), first.take()})
			return
		}
		requests.Add(1)
		if ref, ok := after(r.URL.Path, "/manifests/"); ok {
			if text := manifests[ref]; text != nil {
				w.Header().Set("Content-Type", manifestType)
				w.Header().Set("Docker-Content-Digest", digest.FromBytes(text).String())
				w.Header().Set("Content-Length", fmt.Sprint(len(text)))
				_, _ = w.Write(text)
				return
			}
		}
		if ref, ok := after(r.URL.Path, "/blobs/sha256:"); ok {
			if f, err := os.Open(filepath.Join(dir, filepath.Base(ref))); err == nil {
				defer f.Close()
				if r.Method == http.MethodGet {
					blobs.Add(1)
					noteFirst(r, func() { first.note(ref) })
				}
				w.Header().Set("Content-Type", "application/octet-stream")
				http.ServeContent(w, r, "", time.Time{}, f)
				return
			}
		}
		if r.URL.Path == "/v2/" {
			return
		}
		http.NotFound(w, r)
	}
	uplink := &pace{rate: linkRate}
	for k, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			fatal(err)
		}
		handler := http.HandlerFunc(handle)
		var wrap func(net.Conn) net.Conn
		switch k {
		case 0:
			wrap = func(c net.Conn) net.Conn { return countedConn{c.(*net.TCPConn), &sent} }
		case 1:
			wrap = func(c net.Conn) net.Conn {
				return &pacedConn{Conn: c, sent: &sent, pace: &pace{rate: slowRate}, wait: slowLatency}
			}
			handler = func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(slowLatency)
				handle(w, r)
			}
		default:
			wrap = func(c net.Conn) net.Conn { return &pacedConn{Conn: c, sent: &sent, pace: uplink} }
		}
		server := &http.Server{Handler: handler, ConnContext: withConnection}
		go func() { fatal(server.Serve(&wrappedListener{l, wrap})) }()
	}
	select {}
}

func after(path, mark string) (string, bool) {
	i := strings.LastIndex(path, mark)
	if i < 0 {
		return "", false
	}
	return path[i+len(mark):], true
}

type wrappedListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}
