package peers

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// lookUpPatience is how long a name may take to be looked up.
const lookUpPatience = 2 * time.Second

// errNoAddress is why a name means nothing that is there.
var errNoAddress = errors.New("a name has no address")

// names are looked up. A name that is not found any more means what it meant. It is for
// one goroutine.
type names struct {
	lookUp func(ctx context.Context, host string) ([]string, error)
	log    *slog.Logger
	found  map[string][]string // by host
	failed error               // why one was not found the last time
}

// addresses returns the addresses that hosts and ports mean.
func (n *names) addresses(ctx context.Context, peers []string) (all []string) {
	var failed error
	for _, peer := range peers {
		host, port, err := net.SplitHostPort(peer)
		if err != nil {
			continue // it was checked
		}
		hosts := []string{host}
		if _, err := netip.ParseAddr(host); err != nil {
			hosts = n.hosts(ctx, host, &failed)
		}
		for _, host := range hosts {
			if address := net.JoinHostPort(host, port); !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	n.failed = failed
	return all
}

func (n *names) hosts(ctx context.Context, host string, failed *error) []string {
	ctx, cancel := context.WithTimeout(ctx, lookUpPatience)
	defer cancel()
	found, err := n.lookUp(ctx, host)
	switch {
	case err == nil && len(found) > 0:
		n.found[host] = found
	case n.failed == nil && ctx.Err() == nil:
		n.log.Warn("other gateways are not found", "name", host, "error", err)
		fallthrough
	default:
		*failed = cmp.Or(err, errNoAddress)
	}
	return n.found[host]
}
