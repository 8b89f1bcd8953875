package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/listener"
)

// serverOf returns the server that a handler belongs to; nil = none.
func serverOf(ctx caddy.Context) *caddyhttp.Server {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

// newAddresses returns where the server that a handler belongs to is going to listen,
// except where an earlier configuration does so already and hands over. It is to be
// called before any server of this configuration has started.
func newAddresses(ctx caddy.Context) []caddy.NetworkAddress {
	server := serverOf(ctx)
	if server == nil {
		return nil
	}
	var unused []caddy.NetworkAddress
	for _, text := range server.Listen {
		address, err := caddy.ParseNetworkAddress(text)
		if err != nil || !strings.HasPrefix(address.Network, "tcp") || address.StartPort == 0 {
			continue // sockets, those that systemd hands over, and ports that nobody has yet
		}
		for _, one := range address.Expand() {
			if caddy.ListenerUsage(one.Network, one.JoinHostPort(0)) == 0 {
				unused = append(unused, one)
			}
		}
	}
	return unused
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

// turnTime is how long a gateway waits for others that are about to listen at its ports,
// and how long it keeps others waiting.
const turnTime = 10 * time.Second

// claimAddresses is checkAddresses, and keeps gateways that start at the same moment from
// seeing each other's addresses as free: the next one looks once this one listens, or has
// stopped to. ctx is that of the configuration.
func claimAddresses(ctx context.Context, addresses []caddy.NetworkAddress) error {
	patience, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	var ports []uint16
	for _, address := range addresses {
		ports = append(ports, uint16(address.StartPort))
	}
	release := listener.TakeTurns(patience, ports)
	if err := checkAddresses(addresses); err != nil {
		// Caddy may listen there by now: it stops before it ends the configuration.
		context.AfterFunc(ctx, func() {
			awaitUse(context.WithoutCancel(ctx), addresses, false)
			release()
		})
		return err
	}
	go func() {
		awaitUse(ctx, addresses, true)
		release()
	}()
	return nil
}

// awaitUse returns once this process listens at all of the addresses, or at none; after a
// while and with ctx in any case.
func awaitUse(ctx context.Context, addresses []caddy.NetworkAddress, want bool) {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond) // Caddy tells nobody
	defer tick.Stop()
	for slices.ContainsFunc(addresses, func(a caddy.NetworkAddress) bool {
		return caddy.ListenerUsage(a.Network, a.JoinHostPort(0)) > 0 != want
	}) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ownerOf returns which other process listens at an address, nil if none does as far
// as can be told.
func ownerOf(address caddy.NetworkAddress) *listener.Owner {
	at, err := listener.Bind(address.Network, address.JoinHostPort(0))
	if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
		return nil // whatever else is wrong with it, Caddy says
	}
	other, known := listener.At(at)
	switch {
	case known:
		return other
	case errors.Is(err, syscall.EACCES), caddy.ListenerUsage(address.Network, address.JoinHostPort(0)) > 0:
		return nil // it may be our own
	}
	return new(listener.Owner)
}
