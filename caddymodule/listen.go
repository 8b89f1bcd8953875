package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/sys/unix"
)

// newAddresses returns where the server that a handler belongs to is going to listen,
// except where an earlier configuration does so already and hands over. It is to be
// called before any server of this configuration has started.
func newAddresses(ctx caddy.Context) []caddy.NetworkAddress {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	var fresh []caddy.NetworkAddress
	for _, text := range server.Listen {
		address, err := caddy.ParseNetworkAddress(text)
		if err != nil || !strings.HasPrefix(address.Network, "tcp") || address.StartPort == 0 {
			continue // sockets, those that systemd hands over, and ports that nobody has yet
		}
		for _, one := range address.Expand() {
			if caddy.ListenerUsage(one.Network, one.JoinHostPort(0)) == 0 {
				fresh = append(fresh, one)
			}
		}
	}
	return fresh
}

// checkAddresses refuses addresses at which another process listens. Caddy would
// share them (SO_REUSEPORT), without an error: each gets some of the connections.
func checkAddresses(addresses []caddy.NetworkAddress) error {
	for _, address := range addresses {
		if other := ownerOf(address); other != nil {
			return fmt.Errorf("listen on %s: %s listens there already, and each would get some of the requests: stop that one, or listen elsewhere",
				address, other)
		}
	}
	return nil
}

// owner is the process that listens at an address.
type owner struct {
	pid  int // 0 = it is not ours to know
	name string
	uid  string
}

func (o *owner) String() string {
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

// ownerOf returns which other process listens at an address, nil if none does as far
// as can be told.
func ownerOf(address caddy.NetworkAddress) *owner {
	at, err := tryBind(address)
	if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
		return nil // whatever else is wrong with it, Caddy says
	}
	other, known := listenerAt(at)
	switch {
	case known:
		return other
	case errors.Is(err, syscall.EACCES), caddy.ListenerUsage(address.Network, address.JoinHostPort(0)) > 0:
		return nil // it may be our own
	}
	return new(owner)
}

var errBound = errors.New("bound")

// tryBind binds a socket to an address as servers do that share theirs with nobody,
// and closes it again. It does not listen, so no client notices.
func tryBind(address caddy.NetworkAddress) (at netip.AddrPort, err error) {
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
	listener, err := config.Listen(context.Background(), address.Network, address.JoinHostPort(0))
	if err == nil {
		return at, listener.Close()
	}
	if errors.Is(err, errBound) {
		return at, bindErr
	}
	return at, err
}
