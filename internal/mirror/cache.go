package mirror

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/known"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
	"github.com/pullgate/pullgate/internal/taglist"
)

// The deadlines of look-ups, whole, not per attempt, and others.
const (
	coldDeadline  = 10 * time.Second // nothing to answer with otherwise
	staleDeadline = 3 * time.Second  // a stale answer is at hand
	sizePatience  = 5 * time.Second  // see fill.Downloads
	closePatience = 10 * time.Second // how long Close waits for what hangs
)

// CacheOptions make a Cache.
type CacheOptions struct {
	// Records and Blobs are what the Cache answers from, and fills. They are open as
	// long as it is.
	Records Records
	Blobs   Blobs
	// Logger gets failures of fills and of the store; nil = discard.
	Logger *slog.Logger
	// Now is the clock for freshness and negative memory; nil = time.Now.
	Now func() time.Time
	// Observe is called at the start, before the first GET and at the end of every fill, from
	// the fill's goroutine: it must be quick and safe for concurrent use. nil = nobody.
	Observe func(FillEvent)
	// Panicked is called when a look-up or a fill panics, which ends that one with
	// an error. It may be called from any goroutine. nil = only the log tells.
	Panicked func()
}

// FillEvent tells of a fill that has started, is about to ask the upstream, or finished.
type FillEvent struct {
	// Upstream is the configured name of the upstream that is asked, and Client who is
	// the reason, as in oci.Request; empty = a preload. Ahead says that it looks ahead, and
	// Asking that it has had its turn, and asks.
	Upstream, Repository, Client string
	Ahead, Asking                bool
	Digest                       digest.Digest
	// Finished is false at first; the fields below are set at the end only.
	Finished bool
	// Class says why the fill failed; ClassNone = it did not. ClassCanceled is
	// a fill that was suspended by Close.
	Class oci.Class
	// Size is that of the blob, -1 if it never became known; Bytes is how many
	// the upstream sent.
	Size, Bytes int64
	// Stored says that the blob lies in the store now.
	Stored bool
}

// Stats is a snapshot of what is going on.
type Stats struct {
	// Fills and Readers count running fills and open readers of fills.
	Fills   int `json:"fills"`
	Readers int `json:"readers"`
	// FillBytes is how many bytes the running fills have received.
	FillBytes int64 `json:"fill_bytes"`
	// LookUps counts running questions to upstreams about tags, manifests, sizes.
	LookUps int `json:"look_ups"`
	// Queued counts fills that wait for others of their upstream.
	Queued int `json:"queued"`
	// Failures counts remembered failures.
	Failures int `json:"failures"`
}

// Cache is what all mirrors on one store share: running fills, running look-ups
// and the memory of failures. All methods are safe for concurrent use.
type Cache struct {
	hooks
	*life
	troubles
	hints
	lookUps

	store     *lenientStore
	images    known.Images
	lists     taglist.Lists
	fills     fills
	downloads fill.Downloads
	turns     pace.Limiter[turnKey]
	ahead     pace.Limiter[string] // of what no client has asked for yet
	// deadlines are a seam for tests, fixed before the first request.
	deadlines struct{ cold, stale time.Duration }
}

// hooks are what a Cache tells and asks those who made it.
type hooks struct {
	log     *slog.Logger
	now     func() time.Time
	observe func(FillEvent)
	panics  func()
}

// hints are what upstreams have said of tags and manifests, which is worth little.
type hints struct {
	gone      since[key]      // since when an upstream says that a tag is gone
	namedBy   bounded[string] // by which tag an upstream has named a manifest that nobody has got yet
	announced announced
}

// lookUps are the running questions to upstreams.
type lookUps struct {
	tags      flights[tagAnswer]
	tagged    flights[tagAnswer] // that get the manifest, too
	manifests flights[oci.Manifest]
	heads     flights[oci.Descriptor]
	possessed flights[bool]
	referrers flights[[]oci.Descriptor]

	listBegins flights[*taglist.List]
	listPages  flights[*taglist.Page]
}

func (l *lookUps) len() int {
	return l.tags.len() + l.tagged.len() + l.manifests.len() + l.heads.len() + l.possessed.len() + l.referrers.len() +
		l.listBegins.len() + l.listPages.len()
}

// NewCache returns a Cache. The caller closes the Cache before the store.
func NewCache(o CacheOptions) *Cache {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(FillEvent) {}
	}
	if o.Panicked == nil {
		o.Panicked = func() {}
	}
	c := &Cache{
		hooks: hooks{log: o.Logger, now: o.Now, observe: o.Observe, panics: o.Panicked},
		life:  newLife(),
		store: &lenientStore{Records: o.Records, Blobs: o.Blobs, log: o.Logger, now: o.Now},
		downloads: fill.Downloads{
			Now: o.Now, After: time.After, Panicked: o.Panicked, SizePatience: sizePatience, Processors: int64(runtime.GOMAXPROCS(0)),
		},
	}
	c.troubles.clock = o.Now
	c.deadlines.cold, c.deadlines.stale = coldDeadline, staleDeadline
	return c
}

// Close cancels look-ups, suspends fills and returns once every goroutine of the
// Cache has ended, or after 10 s: then the log tells. Readers of unfinished fills get
// an error; later requests that need an upstream are answered with 503. Later calls
// only wait.
func (c *Cache) Close() {
	if !c.life.close(closePatience) {
		c.log.Error("look-ups or fills do not end, and are left behind", "patience", closePatience)
	}
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	s := Stats{Failures: c.failures.len(), Queued: c.downloads.Queued(), LookUps: c.lookUps.len()}
	for _, f := range c.fills.all() {
		readers, received := f.Progress()
		s.Fills++
		s.Readers += readers
		s.FillBytes += received
	}
	return s
}

// Running returns the running fills, with the bytes that they have received.
func (c *Cache) Running() (running []FillEvent) {
	for _, f := range c.fills.all() {
		e := f.event(false)
		_, e.Bytes = f.Progress()
		running = append(running, e)
	}
	return running
}

// survive keeps a panic of what nobody waits for from taking the server down. It is
// to be deferred.
func (c *Cache) survive(task string) {
	if p := recover(); p != nil {
		c.panics()
		c.log.Error("panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}

// classed turns what a Remote returned into an error with a class, also where the
// deadline of the look-up or the end of the Cache cut it short.
func (c *Cache) classed(ctx context.Context, err error) error {
	class := oci.ClassOf(err)
	switch class {
	case oci.ClassNone, oci.ClassCanceled, oci.ClassTimeout:
	default:
		return err
	}
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return fill.ErrClosed()
	case class != oci.ClassTimeout && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return oci.UpstreamError(oci.ClassTimeout, "", "the upstream did not answer in time", err)
	}
	return err
}
