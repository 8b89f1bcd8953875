package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// exitGrace is how long answers go on when the process exits, unless the servers
	// have a grace_period. Init systems kill what takes long, some after 10 s.
	exitGrace = 5 * time.Second
	// exitLook is how often a configuration looks whether the process exits: Caddy
	// tells nobody before the servers have waited for their clients, which may be for
	// ever.
	exitLook = 250 * time.Millisecond
	// closePatience is how long a store may take to close when the process exits.
	closePatience = 30 * time.Second
)

func init() {
	// Requests of earlier configurations are not waited for by the last one.
	caddy.OnExit(func(context.Context) { awaitClosed(exitPatience) })
}

// awaitExit ends the configuration when the process exits: who is still being
// answered after the grace is cut off, and what is under way is written down while
// there is time. It returns when everybody has left.
func (r *appRun) awaitExit(handlers []*service, grace time.Duration) {
	tick := time.NewTicker(exitLook)
	defer tick.Stop()
	for !caddy.Exiting() {
		if r.left(handlers) {
			return
		}
		<-tick.C
	}
	for end := time.Now().Add(grace); time.Now().Before(end) && !r.left(handlers); {
		<-tick.C
	}
	var all sync.WaitGroup
	for _, h := range handlers {
		all.Go(h.retire)
	}
	all.Wait()
	if err := r.release(); err != nil {
		slog.New(newestLog{}).Error("closing storage", "error", err)
	}
}

// left reports whether nothing of the configuration is in use any more.
func (r *appRun) left(handlers []*service) bool {
	r.mu.Lock()
	open := r.cache != nil
	r.mu.Unlock()
	if open {
		return false
	}
	for _, h := range handlers {
		select {
		case <-h.empty:
		default:
			return false
		}
	}
	return true
}

// grace is how long the servers let requests go on when they stop.
func (r *appRun) grace() time.Duration {
	value, err := r.ctx.AppIfConfigured("http")
	if err != nil {
		return exitGrace
	}
	if http, ok := value.(*caddyhttp.App); ok && http.GracePeriod > 0 {
		return time.Duration(http.GracePeriod)
	}
	return exitGrace
}

var errSlowClose = errors.New("it takes long to close: it is left as a crash would leave it")

// awaitClosed waits until no store is open.
func awaitClosed(patience time.Duration) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			cachesMu.Lock() // held by who closes one
			open := len(openCaches())
			cachesMu.Unlock()
			if open == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	select {
	case <-closed:
	case <-time.After(patience):
	}
}
