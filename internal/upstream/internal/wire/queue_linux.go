package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// queued returns how many bytes have come in over a connection that nobody has read
// from its socket yet (SIOCINQ, tcp(7)); 0 where that cannot be known.
func queued(conn net.Conn) int64 {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	if raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }) != nil || err != nil {
		return 0
	}
	return int64(n)
}
