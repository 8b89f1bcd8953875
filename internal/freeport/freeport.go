// Package freeport finds ports for servers that a test or a benchmark starts.
//
// A port that was looked for by listening and closing again is anybody's: two
// gateways that found the same one share it without an error, since Caddy listens
// with SO_REUSEPORT, and each answers half of the other's requests.
package freeport

import (
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
	// Bound without SO_REUSEADDR, it fits beside no other socket.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	if err := unix.Bind(fd, new(unix.SockaddrInet4)); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return strconv.Itoa(name.(*unix.SockaddrInet4).Port), nil
}

// Address returns a Port of 127.0.0.1.
func Address() (string, error) {
	port, err := Port()
	return net.JoinHostPort("127.0.0.1", port), err
}
