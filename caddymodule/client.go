package caddymodule

import (
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/upstream"
)

// clients has the upstream clients of the process, so that connections, tokens
// and the memory of rate limits survive reloads and are shared between sites.
// Clients of equal configuration are one, whatever the policy on top.
var clients = caddy.NewUsagePool()

type client struct {
	*upstream.Client
	name, key string
}

// Destruct implements caddy.Destructor.
func (c *client) Destruct() error {
	c.Close()
	return nil
}

// acquireClient returns the client of a provisioned upstream. Each call is
// paired with one of releaseClient.
func acquireClient(u *config.Upstream) (*client, error) {
	key := u.Fingerprint()
	value, _, err := clients.LoadOrNew(key, func() (caddy.Destructor, error) {
		o := u.ClientOptions()
		count, track := counted.Requests(u.Name), tracked.Asked(u.Name)
		o.Observe = func(o upstream.Observation) {
			count(o)
			track(o)
		}
		o.Received, o.Logger = counted.Received(u.Name), slog.New(newestLog{})
		c, err := upstream.New(o)
		return &client{Client: c, name: u.Name, key: key}, err
	})
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	return value.(*client), nil
}

func releaseClient(c *client) error {
	_, err := clients.Delete(c.key)
	return err
}
