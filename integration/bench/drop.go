package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"syscall"
)

// throwAway has the kernel drop the next n bytes.
func throwAway(c *net.TCPConn, n int64) error {
	for n > 0 {
		dropped, err := drop(c, min(n, 4<<20))
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		n -= dropped
	}
	return nil
}

// drop has the kernel drop up to most of the next bytes, at least one (MSG_TRUNC,
// tcp(7)).
func drop(c *net.TCPConn, most int64) (n int64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	buffer := make([]byte, 1)
	err = raw.Read(func(fd uintptr) bool {
		for {
			got, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, fd, addressOf(buffer), uintptr(most), syscall.MSG_TRUNC, 0, 0)
			switch {
			case errno == syscall.EAGAIN:
				return false
			case errno == syscall.EINTR:
				continue
			case errno != 0:
				failed = errno
			case got == 0:
				failed = io.EOF
			default:
				n = int64(got)
			}
			return true
		}
	})
	if err == nil {
		err = failed // as it is, for readers of io.EOF
	}
	return n, err
}

// droppingConn drops what large reads ask for: those of a body. In reality clients
// have machines of their own; here they are to cost as little as can be.
type droppingConn struct{ *net.TCPConn }

func (c droppingConn) Read(b []byte) (int, error) {
	if len(b) <= readBuffer {
		return c.TCPConn.Read(b)
	}
	n, err := drop(c.TCPConn, int64(len(b)))
	return int(n), err
}

// newDroppingClient returns a client with connections of its own, for callers that want no more
// of large bodies than their length. It speaks HTTP/1.1 over cleartext.
func newDroppingClient() *http.Client {
	client := newClient(false)
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return droppingConn{conn.(*net.TCPConn)}, nil
	}
	return client
}
