package caddymodule

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/storage"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is what there is one of in a configuration with registry mirrors: the
// store, where everything pulled is kept, and its limits. It need not be
// configured; every field has a default.
//
// A store is used by one process at a time, and by all sites of that process.
// It stays open across reloads; where two configurations run at once, the limits
// of the newer one hold. Validating a configuration does not open it.
type App struct {
	// Where the store lies and how large it may become.
	Storage *config.Storage `json:"storage,omitempty"`

	// What it shares with other gateways. Default: nothing.
	Fleet *config.Fleet `json:"fleet,omitempty"`

	run *appRun
}

// appRun is the run-time state of an App.
type appRun struct {
	path   string
	limits storage.Limits
	bucket *sharedBucket // nil = there is none
	peers  *sharedPeers  // nil = there are none
	log    slog.Handler

	ctx      caddy.Context
	mu       sync.Mutex
	handlers []*service
	listens  []caddy.NetworkAddress // where no earlier configuration does
	servers  []*caddyhttp.Server    // those of the handlers
	cache    *cache                 // set while the App holds its reference
	adoption sync.Once
	adopted  *cache // whose limits and bucket are the configuration's
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision finds out where the store lies. It touches no file.
func (a *App) Provision(ctx caddy.Context) error {
	a.run = &appRun{log: ctx.Slogger().Handler(), ctx: ctx}
	s := a.Storage
	if s == nil {
		s = new(config.Storage)
	}
	var err error
	if a.run.limits, err = s.Limits(); err != nil {
		return err
	}
	if a.run.path, err = s.Folder(); err != nil {
		return err
	}
	if a.run.bucket, err = openBucket(ctx, a.Fleet); err != nil {
		return err
	}
	if a.run.peers, err = newPeers(a.Fleet); err != nil {
		return err
	}
	a.run.listens = a.run.peers.newAddresses()
	return counted.Register(ctx.GetMetricsRegistry())
}

// Validate checks the limits. The rest was checked before.
func (a *App) Validate() error {
	if a.Storage == nil {
		return nil
	}
	return a.Storage.Check()
}

// Start opens the store, unless an earlier configuration has it open, and
// everything that the handlers need: what cannot work fails the load, and the
// earlier configuration stays. So does an address that another process has.
func (a *App) Start() error {
	c, err := acquireCache(a.run.path, a.run.limits)
	if err != nil {
		return err
	}
	a.run.adopt(c)
	a.run.mu.Lock()
	a.run.cache = c
	handlers, listens, servers := a.run.handlers, a.run.listens, a.run.servers
	a.run.mu.Unlock()
	if err := claimAddresses(a.run.ctx, listens); err != nil {
		return err
	}
	if err := c.join(); err != nil {
		return err
	}
	warnOfEncode(servers, slog.New(a.run.log))
	go a.run.awaitExit(handlers, a.run.grace())
	for _, h := range handlers {
		if err := h.start(); err != nil {
			return err
		}
	}
	a.run.tellStart()
	return nil
}

// Stop does nothing: the HTTP servers may still be answering.
func (a *App) Stop() error { return nil }

// Cleanup gives back the reference to the store. The store closes when no
// handler and no other configuration holds one.
func (a *App) Cleanup() error {
	if a.run == nil {
		return nil
	}
	return a.run.release()
}

// adopt makes limits and bucket of the store those of the configuration, unless that was
// done, or the configuration has left.
func (r *appRun) adopt(c *cache) {
	r.adoption.Do(func() {
		r.mu.Lock()
		r.adopted = c
		r.mu.Unlock()
		c.adopt(r)
	})
}

func (r *appRun) release() error {
	r.adoption.Do(func() {})
	r.mu.Lock()
	c, adopted := r.cache, r.adopted
	r.cache, r.adopted = nil, nil
	r.mu.Unlock()
	if adopted != nil {
		adopted.disown(r)
	}
	if c == nil {
		return nil
	}
	return releaseCache(c)
}

// add makes Start start a handler too, and keep to the limits of its upstreams; the
// addresses are those at which it will be the first to listen. Two handlers may name
// one upstream, but not with two limits.
func (r *appRun) add(s *service, listens []caddy.NetworkAddress) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, address := range listens {
		if !slices.Contains(r.listens, address) {
			r.listens = append(r.listens, address)
		}
	}
	for _, u := range s.upstreams {
		if u.Offline {
			r.limits.Offline = append(r.limits.Offline, u.Name)
		}
		if u.MaxSize == 0 {
			continue
		}
		if other, ok := r.limits.Upstreams[u.Name]; ok && other != u.MaxSize {
			return fmt.Errorf("upstream %s: max_size is %d bytes here and %d bytes at another site: what it brings in is stored once, so give both the same, or leave it out at one",
				u.Name, u.MaxSize, other)
		}
		if r.limits.Upstreams == nil {
			r.limits.Upstreams = make(map[string]int64)
		}
		r.limits.Upstreams[u.Name] = u.MaxSize
	}
	r.handlers = append(r.handlers, s)
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
