package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// moments is when something happened to blobs for the first time: in Unix
// nanoseconds, which all processes of a machine share, by the hex of the digest.
type moments struct {
	mu sync.Mutex
	of map[string]int64
}

func (m *moments) note(blob string) {
	now := time.Now().UnixNano()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]int64{}
	}
	if _, ok := m.of[blob]; !ok {
		m.of[blob] = now
	}
}

// take returns what was noted since the last call.
func (m *moments) take() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.of
	m.of = nil
	return of
}

// connection is what the context of a request has its connection by.
type connection struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connection{}, c)
}

// noteFirst has a paced connection call note when the first byte of the answer's body
// goes, if that is the first byte of the content.
func noteFirst(r *http.Request, note func()) {
	within := r.Header.Get("Range")
	c, ok := r.Context().Value(connection{}).(*pacedConn)
	if ok && (within == "" || strings.HasPrefix(within, "bytes=0-")) {
		c.first, c.head = note, true
	}
}
