package wire

import (
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// Options are what the senders of a client have in common.
type Options struct {
	UserAgent string
	// Header is how long the header of an answer may take, and Reused how long on a
	// connection that has been used before; see Sender.roundTrip.
	Header, Reused time.Duration
	Observe        func(Observation)        // nil = nobody asks
	Received       func(op string, n int64) // nil = nobody asks
}

// Client is what the senders of a client share.
type Client struct {
	o          Options
	Transports *egress.Transports
	closed     atomic.Bool
}

// NewClient returns one that connects with t.
func NewClient(o Options, t *egress.Transports) *Client { return &Client{o: o, Transports: t} }

// Close closes the connections that nobody uses, and others once they are not.
func (c *Client) Close() {
	c.closed.Store(true)
	c.Transports.CloseIdle()
}

// Sender sends the requests for one configured URL.
type Sender struct {
	*Client

	// Origin is that of the URL.
	Origin egress.Origin
	// literal is the address that stands in the URL; zero = a name does.
	literal netip.Addr
	// slowness is how long the last GET of a blob took to begin, in nanoseconds.
	slowness atomic.Int64
}

// NewSender returns the sender of a configured URL.
func NewSender(c *Client, to *url.URL) *Sender {
	return &Sender{Client: c, Origin: egress.OriginOf(to), literal: egress.LiteralOf(to).Addr()}
}

// Leader returns who leads somewhere by what came over a connection from an address.
func (s *Sender) Leader(from netip.AddrPort) egress.Leader {
	return egress.Leader{From: from, Literal: s.literal}
}
