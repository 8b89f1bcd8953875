package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/internal/metrics"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

var (
	// caches has the open stores of the process by canonical path. It is
	// changed under cachesMu only, so that a store that is being closed is
	// closed before it is opened again: its lock is exclusive.
	caches   = caddy.NewUsagePool()
	cachesMu sync.Mutex

	// generations lists the Apps that run, the oldest first. Two run for a
	// moment in each reload, and the newest decides limits and log output; if
	// it is rolled back, the one before does so again.
	generations struct {
		sync.RWMutex
		list []generation
	}
)

// generation is an App that runs, and its store.
type generation struct {
	run   *appRun
	cache *cache
}

// cache is an open store and what all mirrors on it share.
type cache struct {
	operate.Store

	sharing sync.Mutex // held while bucket or peers change
	bucket  *sharedBucket
	peers   *sharedPeers
	group   *peers.Group // nil = there are no peers
}

// acquireCache returns the store of a path, opened with the limits unless it is
// open. Each call is paired with one of releaseCache.
func acquireCache(path string, limits storage.Limits) (*cache, error) {
	// The real path exists only after the folder was made, and stays the key
	// from then on, however the folder is spelled.
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	key, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	cachesMu.Lock()
	defer cachesMu.Unlock()
	value, _, err := caches.LoadOrNew(key, func() (caddy.Destructor, error) { return openCache(key, limits) })
	if err != nil {
		return nil, err
	}
	return value.(*cache), nil
}

func openCache(path string, limits storage.Limits) (*cache, error) {
	logger := slog.New(newestLog{})
	store, err := storage.Open(context.Background(), storage.Options{
		Path: path, Limits: limits, Logger: logger,
		// Stores of this process are closed before they are opened again, so who
		// holds the lock is another process: one that is about to end, or stays.
		LockWait: time.Second,
		Panicked: counted.Panic(metrics.PanicStorage),
	})
	if err != nil {
		return nil, err
	}
	f := fleet.New(fleet.Options{
		Records: store, Blobs: mirror.BlobsOf(store), Catalog: store.Catalog, Store: store, Logger: logger, Panicked: counted.Panic(metrics.PanicMirror),
	})
	c := &cache{Store: operate.Store{Path: path, Store: store, Fleet: f}}
	c.Mirror = mirror.NewCache(mirror.CacheOptions{
		Records: f.Records(), Blobs: f.Blobs(), Logger: logger, Panicked: counted.Panic(metrics.PanicMirror),
		Observe: func(e mirror.FillEvent) {
			f.Filled(e)
			observeFill(e)
		},
	})
	c.History = history.Open(history.Options{
		Totals: func() history.Point { return operate.HistoryTotals(counted.Traffic(), store.Usage(), f) },
		Load:   store.LoadHistory, Save: store.SaveHistory, Now: time.Now, Log: logger,
	})
	return c, nil
}

func observeFill(e mirror.FillEvent) {
	counted.Fill(e)
	tracked.Fill(e)
}

// releaseCache gives back one reference; the last one closes the store.
func releaseCache(c *cache) error {
	cachesMu.Lock()
	defer cachesMu.Unlock()
	_, err := caches.Delete(c.Path)
	return err
}

// Destruct closes the store. It returns once every goroutine of it has ended, or
// after a while if the process exits.
func (c *cache) Destruct() error {
	closed := make(chan error, 1)
	go func() {
		c.Mirror.Close()
		c.leaveGroup()
		c.Fleet.Close()
		c.bucket.close()
		c.History.Close()
		closed <- c.Store.Close()
	}()
	var late <-chan time.Time
	if caddy.Exiting() {
		late = time.After(closePatience)
	}
	select {
	case err := <-closed:
		return err
	case <-late:
		return errSlowClose
	}
}

// openCaches returns the open stores, sorted by path.
func openCaches() []*cache {
	var open []*cache
	caches.Range(func(_, value any) bool {
		if c, ok := value.(*cache); ok { // or one that is still being opened
			open = append(open, c)
		}
		return true
	})
	slices.SortFunc(open, func(a, b *cache) int { return strings.Compare(a.Path, b.Path) })
	return open
}

// adopt makes r the newest generation, and its limits and bucket those of the store.
func (c *cache) adopt(r *appRun) {
	generations.Lock()
	generations.list = append(generations.list, generation{r, c})
	generations.Unlock()
	c.configure()
}

// disown undoes adopt: the newest generation that is left on the store decides.
func (c *cache) disown(r *appRun) {
	generations.Lock()
	generations.list = slices.DeleteFunc(generations.list, func(g generation) bool { return g.run == r })
	generations.Unlock()
	c.configure()
	if err := c.join(); err != nil {
		slog.New(newestLog{}).Error("other gateways are not answered", "error", err)
	}
}

// configure makes limits and bucket those of the newest generation on the store, if there
// is one.
func (c *cache) configure() {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	r := c.newest()
	if r == nil {
		return
	}
	c.SetLimits(r.limits)
	r.bucket.limit(c.Fleet)
	if old := c.bucket; !old.equal(r.bucket) {
		c.bucket = r.bucket
		c.bucket.use(c.Fleet)
		old.close()
	}
}

func (c *cache) newest() *appRun {
	generations.RLock()
	defer generations.RUnlock()
	for _, g := range slices.Backward(generations.list) {
		if g.cache == c {
			return g.run
		}
	}
	return nil
}

// newestLog is the log output of the newest generation. What outlives a
// configuration logs through it: the output of the configuration that made it
// is closed by a reload.
type newestLog struct {
	with []func(slog.Handler) slog.Handler
}

func (l newestLog) handler() slog.Handler {
	generations.RLock()
	defer generations.RUnlock()
	if n := len(generations.list); n > 0 {
		return generations.list[n-1].run.log
	}
	// Before the first has started and after the last has gone.
	return zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("registry_mirror"), zapslog.AddStacktraceAt(slog.Level(127)))
}

// Enabled implements slog.Handler.
func (l newestLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.handler().Enabled(ctx, level)
}

// Handle implements slog.Handler. The values of ctx are not passed on: Caddy
// reads the log fields of a request from there, while the request, which need
// not be waiting for us, may be adding some.
func (l newestLog) Handle(_ context.Context, r slog.Record) error {
	h := l.handler()
	for _, with := range l.with {
		h = with(h)
	}
	return h.Handle(context.Background(), r)
}

// WithAttrs implements slog.Handler.
func (l newestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.and(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (l newestLog) WithGroup(name string) slog.Handler {
	return l.and(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l newestLog) and(with func(slog.Handler) slog.Handler) slog.Handler {
	return newestLog{with: append(slices.Clip(l.with), with)}
}
