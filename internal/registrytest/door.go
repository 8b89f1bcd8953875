package registrytest

import (
	"net"
	"sync"

	"github.com/pullgate/pullgate/internal/freeport"
)

// door is a listener that can be closed and opened again: while it is closed,
// the system refuses connections to its address, and gives it to nobody else.
type door struct {
	addr net.Addr

	mu     sync.Mutex
	inner  net.Listener  // nil while it is closed
	opened chan struct{} // closed when it is open, or gone for good
	gone   bool
	kept   bool // the port is
	count  int  // of accepted connections
}

func newDoor(l net.Listener) *door {
	d := &door{addr: l.Addr(), inner: l, opened: make(chan struct{})}
	close(d.opened)
	return d
}

// Accept implements net.Listener. It does not end while the door is closed.
func (d *door) Accept() (net.Conn, error) {
	for {
		d.mu.Lock()
		inner, opened, gone := d.inner, d.opened, d.gone
		d.mu.Unlock()
		switch {
		case gone:
			return nil, net.ErrClosed
		case inner == nil:
			<-opened
			continue
		}
		conn, err := inner.Accept()
		d.mu.Lock()
		same := d.inner == inner
		if err == nil {
			d.count++
		}
		d.mu.Unlock()
		if err == nil || same {
			return conn, err
		}
	}
}

// Close implements net.Listener: it closes for good.
func (d *door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return net.ErrClosed
	}
	d.gone = true
	if d.inner == nil {
		close(d.opened)
		return nil
	}
	inner := d.inner
	d.inner = nil
	return inner.Close()
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.addr }

func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		return
	}
	d.opened = make(chan struct{})
	inner := d.inner
	d.inner = nil
	_ = inner.Close()
	if tcp, ok := d.addr.(*net.TCPAddr); ok && !d.kept {
		d.kept = freeport.Keep(tcp.Port) == nil
	}
}

func (d *door) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone || d.inner != nil {
		return nil
	}
	inner, err := net.Listen("tcp", d.addr.String())
	if err != nil {
		return err
	}
	d.inner = inner
	close(d.opened)
	return nil
}
