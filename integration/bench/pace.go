package main

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pace is a limit of bytes per second, in pieces of a millisecond or more.
type pace struct {
	mu   sync.Mutex
	rate float64
	next time.Time
}

// take waits until n more bytes may go.
func (p *pace) take(n int) {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	wait := p.next.Sub(now)
	p.mu.Unlock()
	if wait > time.Millisecond {
		time.Sleep(wait)
	}
}

// pacedConn is a connection of limited speed, whose first byte takes wait.
type pacedConn struct {
	net.Conn
	sent *atomic.Int64
	pace *pace
	wait time.Duration

	first func() // called as the first byte of a body goes; nil = none is awaited
	head  bool   // the head of that answer has yet to go
}

func (c *pacedConn) Read(b []byte) (int, error) {
	if c.wait > 0 {
		time.Sleep(c.wait) // the handshake's round trip
		c.wait = 0
	}
	return c.Conn.Read(b)
}

func (c *pacedConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), 64<<10)]
		c.pace.take(len(piece))
		c.going(piece)
		var k int
		k, err = c.Conn.Write(piece)
		c.sent.Add(int64(k))
		n, b = n+k, b[k:]
	}
	return n, err
}

// going calls first before the socket gets the first byte of a body: a client may
// have it before the socket says that it is sent.
func (c *pacedConn) going(piece []byte) {
	if c.first == nil {
		return
	}
	if c.head {
		_, body, ended := bytes.Cut(piece, []byte("\r\n\r\n"))
		c.head, piece = !ended, body
	}
	if len(piece) > 0 {
		c.first()
		c.first = nil
	}
}
