// Package freeport finds ports for servers that a test or a benchmark starts.
//
// A port that was looked for by listening and closing again is anybody's: two
// gateways that found the same one share it without an error, since Caddy listens
// with SO_REUSEPORT, and each answers half of the other's requests.
package freeport

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Port returns a TCP port that is the caller's for as long as this process lives:
// neither the kernel nor another call, in whichever process, gives it away. A socket
// that is bound and never listens keeps it. Servers that listen with SO_REUSEADDR,
// as all do that are written in Go, can listen on it, one after the other.
func Port() (string, error) {
	port, err := hold(0)
	return strconv.Itoa(port), err
}

// Keep makes a port the caller's, as Port does, that it has just stopped listening at.
func Keep(port int) error {
	_, err := hold(port)
	return err
}

// hold binds a socket to a port, 0 = any that is free, and returns which one it is.
func hold(port int) (int, error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("find a free port: %w", err) }
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	share := func() error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if port != 0 { // connections of it may be left
		err = share()
	}
	// Bound without SO_REUSEADDR, it fits beside no other socket.
	if err = errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: port}), share()); err != nil {
		return fail(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fail(err)
	}
	return name.(*unix.SockaddrInet4).Port, nil
}

// Address returns a Port of 127.0.0.1.
func Address() (string, error) {
	port, err := Port()
	return net.JoinHostPort("127.0.0.1", port), err
}
