package upstream

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/internal/flood"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Client is one upstream registry. All methods are safe for concurrent use, and
// return soon after their context is done.
type Client struct {
	o         Options
	endpoints []*endpoint
	network   *wire.Client
	retries   retries
}

// New returns a Client. It connects to nothing.
func New(o Options) (*Client, error) {
	if len(o.URLs) == 0 {
		return nil, fmt.Errorf("upstream %s: no URL", o.Name)
	}
	if o.UserAgent == "" {
		o.UserAgent = "pullgate"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = slog.New(flood.New(o.Logger.Handler(), troubleLines))
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxFails == 0 {
		o.MaxFails = 5
	}
	if o.FailDuration <= 0 {
		o.FailDuration = 5 * time.Second
	}
	o.Timeouts = o.Timeouts.WithDefaults()
	if o.Proxy != nil && (o.Proxy.Scheme != "http" && o.Proxy.Scheme != "https" || o.Proxy.Host == "") {
		return nil, errors.New("upstream " + o.Name + ": the proxy's URL is no http or https URL with a host")
	}
	c := &Client{
		o: o,
		network: wire.NewClient(wire.Options{
			UserAgent: o.UserAgent, Header: o.Timeouts.Header, Reused: o.Timeouts.Reused, Observe: o.Observe, Received: o.Received,
		}, egress.New(egress.Options{
			Network: o.Network, Seams: o.seams, Dial: o.Timeouts.Dial, TLS: o.Timeouts.TLS, Now: o.Now,
		})),
	}
	var authOrigins []egress.Origin
	for _, s := range o.AuthOrigins {
		at, err := egress.ParseOrigin(s)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", o.Name, err)
		}
		authOrigins = append(authOrigins, at)
	}
	for _, u := range o.URLs {
		e, err := newEndpoint(u, o, c.network, authOrigins)
		if err != nil {
			return nil, err
		}
		e.breaker.changed = c.breakerChanged
		c.endpoints = append(c.endpoints, e)
	}
	return c, nil
}

// Close closes the connections that nobody uses. Operations and bodies that are
// under way finish, and their connections are closed then.
func (c *Client) Close() {
	c.network.Close()
}

// Format implements fmt.Formatter: a Client prints as its name alone.
func (c *Client) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "upstream %s", c.o.Name) }

// LogValue implements slog.LogValuer.
func (c *Client) LogValue() slog.Value { return slog.StringValue("upstream " + c.o.Name) }
