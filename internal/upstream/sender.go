package upstream

import (
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"
)

// senderOptions are what the senders of a client have in common.
type senderOptions struct {
	UserAgent string
	// Header is how long the header of an answer may take, and Reused how long on a
	// connection that has been used before; see sender.roundTrip.
	Header, Reused time.Duration
	Observe        func(Observation)        // nil = nobody asks
	Received       func(op string, n int64) // nil = nobody asks
}

// network is what the senders of a client share.
type network struct {
	o          senderOptions
	transports *transports
	closed     atomic.Bool
}

func newNetwork(o senderOptions, t *transports) *network { return &network{o: o, transports: t} }

// close closes the connections that nobody uses, and others once they are not.
func (n *network) close() {
	n.closed.Store(true)
	n.transports.closeIdle()
}

// sender sends the requests for one configured URL.
type sender struct {
	*network

	origin origin
	// literal is the address that stands in the URL; zero = a name does.
	literal netip.Addr
	// slowness is how long the last GET of a blob took to begin, in nanoseconds.
	slowness atomic.Int64
}

func newSender(n *network, to *url.URL) *sender {
	return &sender{network: n, origin: originOf(to), literal: literalOf(to).Addr()}
}

// leader returns who leads somewhere by what came over a connection from an address.
func (s *sender) leader(from netip.AddrPort) leader {
	return leader{from: from, literal: s.literal}
}
