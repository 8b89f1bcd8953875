package freeport_test

import (
	"context"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/freeport"
)

// TestPort asks for more ports than collide by chance, and listens on one of them
// twice, as a gateway does that is started again.
func TestPort(t *testing.T) {
	seen := make(map[string]bool)
	for range 500 {
		address, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s is given away twice", address)
		}
		seen[address] = true
	}
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	for address := range seen {
		for _, config := range []*net.ListenConfig{{}, &reuse, {}} {
			listener, err := config.Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Fatalf("listen on a port of one's own: %v", err)
			}
			connection, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", address)
			if err != nil {
				t.Fatalf("reach a server on a port of one's own: %v", err)
			}
			_ = connection.Close()
			_ = listener.Close()
		}
		return
	}
}

// TestKeep keeps a port that was listened at: nobody else gets it, and its owner does.
func TestKeep(t *testing.T) {
	listen := func(address string) net.Listener {
		t.Helper()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return listener
	}
	listener := listen("127.0.0.1:0")
	address := listener.Addr().(*net.TCPAddr)
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = listener.Close()
	if err := freeport.Keep(address.Port); err != nil {
		t.Fatal(err)
	}
	if other, err := new(net.Dialer).DialContext(t.Context(), "tcp", address.String()); err == nil {
		_ = other.Close()
		t.Error("it is listened at")
	}
	for range 2 {
		_ = listen(address.String()).Close()
	}
}
