package registrytest

import (
	"bytes"
	"context"
	"net"
	"sync"
	"syscall"
)

// Network connects clients and servers in memory. In a bubble of testing/synctest, where
// real connections keep the clock from going on, nothing that is waited for takes time,
// and no machine is too slow for a deadline. The zero value is ready. Safe for concurrent
// use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
}

// Listen listens at an address of its own.
func (n *Network) Listen() net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	l := &listener{
		addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1 + len(n.listeners)}, queue: make(chan net.Conn, 1000), closed: make(chan struct{}),
	}
	n.listeners[l.addr.String()] = l
	return l
}

// Dial connects to an address of Listen's, as soon as it is listened at. It is an
// http.Transport.DialContext.
func (n *Network) Dial(_ context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.listeners[address]; l != nil {
		select {
		case <-l.closed:
		default:
			client, near := net.Pipe()
			far, server := net.Pipe()
			go deliver(far, near)
			go deliver(near, far)
			l.queue <- conn{server, l.addr}
			return conn{client, l.addr}, nil
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// deliver passes on what is sent, which does not wait until it is received, as little as
// with a real connection.
func deliver(to, from net.Conn) {
	sent := make(chan []byte, 1000)
	go func() {
		defer to.Close()
		for p := range sent {
			if _, err := to.Write(p); err != nil {
				_ = from.Close()
			}
		}
	}()
	defer close(sent)
	for p := make([]byte, 32<<10); ; {
		n, err := from.Read(p)
		if err != nil {
			return
		}
		sent <- bytes.Clone(p[:n])
	}
}

// listener implements net.Listener.
type listener struct {
	addr   *net.TCPAddr
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// conn is an end of a connection to an address.
type conn struct {
	net.Conn

	addr net.Addr
}

func (c conn) RemoteAddr() net.Addr { return c.addr }
