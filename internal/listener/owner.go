// Package listener finds out which other process listens at an address.
package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Owner is the process that listens at an address.
type Owner struct {
	pid  int // 0 = it is not ours to know
	name string
	uid  string
}

// String names the process as well as it is known.
func (o *Owner) String() string {
	switch {
	case o.pid != 0 && o.name != "":
		return fmt.Sprintf("process %d (%s)", o.pid, o.name)
	case o.pid != 0:
		return fmt.Sprintf("process %d", o.pid)
	case o.uid != "":
		return fmt.Sprintf("a process of the user with the number %s", o.uid)
	}
	return "another process"
}

var errBound = errors.New("bound")

// Bind binds a socket to an address as servers do that share theirs with nobody,
// and closes it again. It does not listen, so no client notices.
func Bind(network, address string) (at netip.AddrPort, err error) {
	var bindErr error
	config := net.ListenConfig{Control: func(family, resolved string, c syscall.RawConn) error {
		host, port, _ := net.SplitHostPort(resolved)
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() { // all of them
			host = map[bool]string{true: "0.0.0.0", false: "::"}[family == "tcp4"]
		}
		if at, bindErr = netip.ParseAddrPort(net.JoinHostPort(host, port)); bindErr != nil {
			return bindErr
		}
		var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
		if family == "tcp4" {
			to = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
		}
		if err := c.Control(func(fd uintptr) { bindErr = unix.Bind(int(fd), to) }); err != nil {
			return err
		}
		return errBound
	}}
	listener, err := config.Listen(context.Background(), network, address)
	if err == nil {
		return at, listener.Close()
	}
	if errors.Is(err, errBound) {
		return at, bindErr
	}
	return at, err
}
