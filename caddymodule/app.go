package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

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
	Storage *Storage `json:"storage,omitempty"`

	run *appRun
}

// Storage is one store: a folder on a local file system.
type Storage struct {
	// The folder, made if missing. It may hold the placeholders {env.*} and
	// {file.*}. Default: registry_mirror in Caddy's data directory.
	Path string `json:"path,omitempty"`

	// The most bytes that blobs may take; the least recently used go first.
	// Default: 0, no limit but the free space.
	MaxSize int64 `json:"max_size,omitempty"`

	// Free bytes to leave on the file system. Default: 0; what the index needs
	// to be safe is always left.
	MinFree int64 `json:"min_free,omitempty"`

	// Free space to leave on the file system, in percent of its size. Not
	// together with min_free. Default: 0.
	MinFreePercent float64 `json:"min_free_percent,omitempty"`

	// Forget what nobody has pulled for so long. Default: 0, never.
	MaxUnused caddy.Duration `json:"max_unused,omitempty"`
}

// appRun is the run-time state of an App.
type appRun struct {
	path   string
	limits storage.Limits
	log    slog.Handler

	mu       sync.Mutex
	handlers []*service
	cache    *cache // set while the App holds its reference
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
	a.run = &appRun{log: ctx.Slogger().Handler()}
	s := a.Storage
	if s == nil {
		s = new(Storage)
	}
	a.run.limits = storage.Limits{
		MaxSize:        s.MaxSize,
		MinFree:        s.MinFree,
		MinFreePercent: s.MinFreePercent,
		MaxUnused:      time.Duration(s.MaxUnused),
	}
	var err error
	if a.run.path, err = s.folder(); err != nil {
		return err
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

// folder returns the absolute path of the store.
func (s *Storage) folder() (string, error) {
	path := filepath.Join(caddy.AppDataDir(), "registry_mirror")
	if s != nil && s.Path != "" {
		var err error
		if path, err = caddy.NewReplacer().ReplaceOrErr(s.Path, true, true); err != nil {
			return "", fmt.Errorf("storage path: %w", err)
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("storage path: %w", err)
	}
	return path, nil
}

// Validate checks the limits.
func (a *App) Validate() error {
	s := a.Storage
	switch {
	case s == nil:
		return nil
	case s.MaxSize < 0, s.MinFree < 0, s.MaxUnused < 0:
		return errors.New("storage: max_size, min_free and max_unused cannot be negative; leave out a limit to have none")
	case s.MinFreePercent < 0 || s.MinFreePercent >= 100:
		return fmt.Errorf("storage: min_free is %g%%, want 0%% to less than 100%%", s.MinFreePercent)
	case s.MinFree > 0 && s.MinFreePercent > 0:
		return errors.New("storage: min_free and min_free_percent exclude each other; keep one")
	}
	return nil
}

// Start opens the store, unless an earlier configuration has it open, and
// everything that the handlers need: what cannot work fails the load, and the
// earlier configuration stays.
func (a *App) Start() error {
	c, err := acquireCache(a.run.path, a.run.limits)
	if err != nil {
		return err
	}
	c.adopt(a.run)
	a.run.mu.Lock()
	a.run.cache = c
	handlers := a.run.handlers
	a.run.mu.Unlock()
	for _, h := range handlers {
		if err := h.start(); err != nil {
			return err
		}
	}
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
	a.run.mu.Lock()
	c := a.run.cache
	a.run.cache = nil
	a.run.mu.Unlock()
	if c == nil {
		return nil
	}
	c.disown(a.run)
	return releaseCache(c)
}

// add makes Start start a handler too.
func (r *appRun) add(s *service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers = append(r.handlers, s)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
