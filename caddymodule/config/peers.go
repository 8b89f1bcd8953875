package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/fleet/peers"
)

// Peers are the gateways that answer each other.
type Peers struct {
	// Where the gateways of the fleet listen for each other: addresses and DNS names, each
	// with a port. A name may mean any number of gateways. This gateway may be among
	// them: it finds out which address is its own. Default: none.
	Peers []string `json:"peers,omitempty"`

	// Where this gateway listens for the others. Default: all addresses, at the port that
	// all peers have.
	Listen string `json:"listen,omitempty"`

	// What all gateways of the fleet share, and nobody else has: {env.NAME} or
	// {file./path} of at least 32 random bytes, such as openssl rand -hex 32 makes.
	// Required with peers.
	Secret string `json:"secret,omitempty"`
}

func (p *Peers) check() error {
	if len(p.Peers) == 0 {
		if p.Listen != "" || p.Secret != "" {
			return errors.New("listen and secret are for peers, and there are none")
		}
		return nil
	}
	_, err := p.ListenAddress()
	return errors.Join(each(checkPeer, p.Peers), err, p.checkSecret())
}

// checkSecret never shows it.
func (p *Peers) checkSecret() error {
	switch {
	case p.Secret == "":
		return errors.New("peers need a secret: want {env.NAME} or {file./path} of at least 32 random bytes, such as openssl rand -hex 32 makes")
	case !secretPattern.MatchString(p.Secret):
		return errors.New("the secret is a literal one, which would be stored and shown with the configuration; write {env.NAME} or {file./path} in its place")
	}
	return nil
}

func checkPeer(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, numeric := strconv.ParseUint(port, 10, 16); err != nil || host == "" || numeric != nil || n == 0 {
		return fmt.Errorf("peers: %q is no host with a port: want such as pullgate-peers:5001", s)
	}
	return nil
}

func checkListen(s string) error {
	address, err := caddy.ParseNetworkAddressWithDefaults(s, "tcp", 0)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if address.StartPort != address.EndPort || address.StartPort == 0 || address.IsUnixNetwork() {
		return fmt.Errorf("listen: %q has to have one port, at which others reach this gateway", s)
	}
	return nil
}

// ListenAddress returns where the others are listened for.
func (p *Peers) ListenAddress() (caddy.NetworkAddress, error) {
	listen := p.Listen
	if listen == "" {
		ports := map[string]bool{}
		for _, peer := range p.Peers {
			if _, port, err := net.SplitHostPort(peer); err == nil {
				ports[port], listen = true, ":"+port
			}
		}
		if len(ports) > 1 {
			return caddy.NetworkAddress{}, errors.New("the peers have several ports: say with listen which one is this gateway's")
		}
	}
	if err := checkListen(listen); err != nil {
		return caddy.NetworkAddress{}, err
	}
	return caddy.ParseNetworkAddressWithDefaults(listen, "tcp", 0)
}

// LookUpSecret returns the secret.
func (p *Peers) LookUpSecret() (string, error) {
	secret, err := lookUp(caddy.NewReplacer(), p.Secret)
	if err == nil {
		err = peers.CheckSecret(secret)
	}
	if err != nil {
		return "", fmt.Errorf("fleet: secret: %w", err)
	}
	return secret, nil
}
