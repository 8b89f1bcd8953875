package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/metrics"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registry"
)

// sharedPeers are the other gateways of a configuration. nil = it has none. Values that are
// equal make no difference.
type sharedPeers struct {
	names, secret string
	listen        caddy.NetworkAddress
}

// newPeers looks the peers of a fleet up, if there are any.
func newPeers(f *config.Fleet) (*sharedPeers, error) {
	if f == nil || len(f.Peers.Peers) == 0 {
		return nil, nil
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	secret, err := f.LookUpSecret()
	if err != nil {
		return nil, err
	}
	listen, err := f.ListenAddress()
	return &sharedPeers{strings.Join(f.Peers.Peers, " "), secret, listen}, err
}

// equal reports whether it makes no difference which of the two are asked. The listener,
// and who is known to live, outlive a reload then.
func (p *sharedPeers) equal(other *sharedPeers) bool {
	return p == other || p != nil && other != nil && *p == *other
}

// newAddresses returns where no earlier configuration listens for other gateways.
func (p *sharedPeers) newAddresses() []caddy.NetworkAddress {
	if p == nil || caddy.ListenerUsage(p.listen.Network, p.listen.JoinHostPort(0)) > 0 {
		return nil
	}
	return []caddy.NetworkAddress{p.listen}
}

// join makes the other gateways of the store those of the newest generation on it.
func (c *cache) join() error {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	r := c.newest()
	if r == nil || c.peers.equal(r.peers) {
		return nil
	}
	group, err := r.peers.start(c)
	if err != nil {
		return fmt.Errorf("fleet: listen for other gateways: %w", err)
	}
	c.leaveGroup()
	c.peers, c.group = r.peers, group
	c.Fleet.Join(group)
	return nil
}

// start returns a Group with such peers, which answers them what a store has; nil = none.
func (p *sharedPeers) start(c *cache) (*peers.Group, error) {
	if p == nil {
		return nil, nil
	}
	group, err := peers.New(peers.Options{
		Peers: strings.Fields(p.names), Secret: p.secret, Enter: c.enterPeer, Current: c.Fleet.Current, Draining: caddy.Exiting, Version: version(),
		Logger: slog.New(newestLog{}), Panicked: counted.Panic(metrics.PanicMirror),
	})
	if err != nil {
		return nil, err
	}
	l, err := p.listen.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		group.Close()
		return nil, err
	}
	group.Start(l.(net.Listener)) // its network is one of streams
	return group, nil
}

// leaveGroup ends what the store has to do with other gateways.
func (c *cache) leaveGroup() {
	if c.group != nil {
		c.Fleet.Join(nil)
		c.group.Close()
	}
}

// enterPeer lets a request of another gateway in, to an upstream of the newest
// configuration.
func (c *cache) enterPeer(identity string) (peers.Served, bool) {
	r := c.newest()
	if r == nil {
		return peers.Served{}, false
	}
	r.mu.Lock()
	services := slices.Clone(r.handlers)
	r.mu.Unlock()
	for _, s := range services {
		at := slices.IndexFunc(s.upstreams, func(u *config.Upstream) bool { return u.Identity() == identity })
		if at < 0 {
			continue
		}
		open, err := s.enterOpen()
		if err != nil {
			return peers.Served{}, false
		}
		u := s.upstreams[at]
		return peers.Served{Name: u.Name, Handler: open.peers, Offline: u.Offline, Leave: s.leave}, true
	}
	return peers.Served{}, false
}

// forPeers returns what answers other gateways. They may have everything, since each of
// them checks who may; what they ask for is theirs to limit, and no reason to look ahead.
func (s *service) forPeers(until context.Context, c *cache, o mirror.Options) (*registry.Handler, error) {
	o.Upstreams = slices.Clone(o.Upstreams)
	for i := range o.Upstreams {
		u := &o.Upstreams[i]
		u.Access, u.LookAhead, u.MaxFills, u.MissesPerClient = mirror.Access{Public: true}, 0, 0, -1
	}
	m, err := mirror.New(c.Mirror, o)
	if err != nil {
		return nil, err
	}
	return registry.New(peers.Wire(registry.Options{Mirror: m, Router: s.wire.Router, Logger: s.wire.Logger, Until: until})), nil
}
