package mirror

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
	"github.com/pullgate/pullgate/storage"
)

// The deadlines of look-ups: whole, not per attempt.
const (
	coldDeadline  = 10 * time.Second // nothing to answer with otherwise
	staleDeadline = 3 * time.Second  // a stale answer is at hand
	sizePatience  = 5 * time.Second  // see fill.Downloads
)

// CacheOptions make a Cache. The zero value is usable.
type CacheOptions struct {
	// Logger gets failures of fills and of the store; nil = discard.
	Logger *slog.Logger
	// Now is the clock for freshness and negative memory; nil = time.Now.
	Now func() time.Time
	// Observe is called at the start and the end of every fill, from the fill's
	// goroutine: it must be quick and safe for concurrent use. nil = nobody.
	Observe func(FillEvent)
	// Panicked is called when a look-up or a fill panics, which ends that one with
	// an error. It may be called from any goroutine. nil = only the log tells.
	Panicked func()
}

// FillEvent tells of a fill that started or finished.
type FillEvent struct {
	// Upstream is the configured name of the upstream that is asked.
	Upstream   string
	Repository string
	Digest     digest.Digest
	// Finished is false at the start; the fields below are set at the end only.
	Finished bool
	// Class says why the fill failed; ClassNone = it did not. ClassCanceled is
	// a fill that was suspended by Close.
	Class oci.Class
	// Size is that of the blob, -1 if it never became known; Bytes is how many
	// the upstream sent.
	Size, Bytes int64
	// Stored says that the blob lies in the store now.
	Stored   bool
	Duration time.Duration
}

// Stats is a snapshot of what is going on.
type Stats struct {
	// Fills and Readers count running fills and open readers of fills.
	Fills, Readers int
	// FillBytes is how many bytes the running fills have received.
	FillBytes int64
	// LookUps counts running questions to upstreams about tags, manifests, sizes.
	LookUps int
	// Queued counts fills that wait for others of their upstream.
	Queued int
	// Failures counts remembered failures.
	Failures int
}

// Cache is what all mirrors on one store share: running fills, running look-ups
// and the memory of failures. All methods are safe for concurrent use.
type Cache struct {
	store   *storage.Store
	log     *slog.Logger
	now     func() time.Time
	observe func(FillEvent)
	panics  func()

	noIndex atomic.Int64 // when it was last said that the store has no index

	// Seams for tests, fixed before the first request.
	makePart  func(context.Context, oci.Scope, digest.Digest, int64) (fill.Part, error)
	deadlines struct{ cold, stale time.Duration }

	ctx    context.Context
	cancel context.CancelFunc

	failures  failures
	turns     pace.Limiter[turnKey]
	denials   since[oci.Scope] // since when an upstream denies a repository
	gone      since[key]       // since when it says that a tag is gone
	voices    voices
	promised  promised
	told      told
	images    images
	ahead     pace.Limiter[string] // of what no client has asked for yet
	tags      flights[tagAnswer]
	tagged    flights[tagAnswer] // that get the manifest, too
	manifests flights[manifestAnswer]
	heads     flights[oci.Descriptor]
	possessed flights[bool]
	referrers flights[referrersAnswer]
	lists     listings

	downloads fill.Downloads

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	fills   map[fillKey]*sharedFill
}

// NewCache returns a Cache on an open store. The caller closes the Cache before
// the store.
func NewCache(store *storage.Store, o CacheOptions) *Cache {
	c := &Cache{
		store: store, log: o.Logger, now: o.Now, observe: o.Observe, panics: o.Panicked,
		fills: map[fillKey]*sharedFill{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.observe == nil {
		c.observe = func(FillEvent) {}
	}
	if c.panics == nil {
		c.panics = func() {}
	}
	c.downloads = fill.Downloads{
		Now: c.now, After: time.After, Panicked: c.panics, SizePatience: sizePatience, Processors: int64(runtime.GOMAXPROCS(0)),
	}
	c.makePart = func(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		p, err := store.Part(ctx, scope, d, size)
		return storedPart{p}, err
	}
	c.deadlines.cold, c.deadlines.stale = coldDeadline, staleDeadline
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close cancels look-ups, suspends fills and returns once every goroutine of the
// Cache has ended. Readers of unfinished fills get an error; later requests that
// need an upstream are answered with 503. Later calls only wait.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	s := Stats{Failures: c.failures.len(), Queued: c.downloads.Queued()}
	s.LookUps = c.tags.len() + c.tagged.len() + c.manifests.len() + c.heads.len() + c.possessed.len() + c.referrers.len() +
		c.lists.begun.len() + c.lists.pages.len()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Fills = len(c.fills)
	for _, f := range c.fills {
		readers, received := f.Progress()
		s.Readers += readers
		s.FillBytes += received
	}
	return s
}

// start runs fn as a goroutine that Close waits for. It returns false, and runs
// nothing, once the Cache is closed.
func (c *Cache) start(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Go(fn)
	return true
}

// survive keeps a panic of what nobody waits for from taking the server down. It is
// to be deferred.
func (c *Cache) survive(task string) {
	if p := recover(); p != nil {
		c.panics()
		c.log.Error("panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}

func errClosed() *oci.Error {
	return &oci.Error{
		Code: oci.CodeUnavailable, Status: 503, Message: "the gateway is shutting down",
		Class: oci.ClassCanceled, RetryAfter: 5 * time.Second,
	}
}

// linked returns the link of a digest to a scope. A store that cannot tell
// counts as no link: then the upstream has to confirm the digest.
func (c *Cache) linked(ctx context.Context, s oci.Scope, d digest.Digest) storage.Link {
	link, err := c.store.Linked(ctx, s, d)
	if err != nil {
		c.readFailed("read link", s, d.String(), err)
		return storage.Link{Size: -1}
	}
	return link
}

func (c *Cache) readFailed(operation string, s oci.Scope, object string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.storeFailed("store cannot be read", err, "operation", operation, "scope", s.String(), "object", object)
	}
}

// storeFailed warns of a failing store. That it has no index is true of every
// request until it has one, and is said once a second.
func (c *Cache) storeFailed(message string, err error, about ...any) {
	if errors.Is(err, storage.ErrNoIndex) || errors.Is(err, storage.ErrStalled) {
		now, last := c.now().UnixNano(), c.noIndex.Load()
		if within(time.Duration(now-last), time.Second) || !c.noIndex.CompareAndSwap(last, now) {
			return
		}
	}
	c.log.Warn(message, append(about, "error", err)...)
}
