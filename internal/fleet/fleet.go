package fleet

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Options make a Fleet.
type Options struct {
	// Records and Blobs are the gateway's own.
	Records mirror.Records
	Blobs   mirror.Blobs
	// Catalog lists what is in both.
	Catalog func(context.Context) (*storage.Catalog, error)
	// Store is where both lie; nil = nothing is removed there, pinned or kept.
	Store Store
	// Logger gets what happens to the bucket; nil = discard.
	Logger *slog.Logger
	// Panicked is called when a task panics, which ends that one. nil = only the log tells.
	Panicked func()
}

// Store is a gateway's own store, beside what it has by name.
type Store interface {
	Remove(context.Context, storage.RemoveOptions) (storage.RemoveReport, error)
	// Limits has the pins of the configuration. Pins are those beside it.
	Limits() storage.Limits
	Pins(context.Context) ([]storage.StoredPin, error)
	Pin(context.Context, oci.Pin) (added bool, err error)
	Unpin(context.Context, oci.Pin) (dropped bool, err error)
	// LoadShared returns what SaveShared has written last.
	LoadShared() ([]byte, error)
	SaveShared(raw []byte) error
}

// Fleet is what one gateway has to do with the others: the bucket that they share, and what
// they answer each other. It belongs to a store, and lives as long; which bucket it uses, and
// whom it asks, if any, may change. All methods are safe for concurrent use.
type Fleet struct {
	local Options
	log   *slog.Logger
	depot atomic.Pointer[depot] // nil = there is no bucket
	using sync.Mutex            // held while the bucket changes
	// limits are those of the bucket.
	limits atomic.Pointer[Limits]

	following following
	// budget is a seam for tests, fixed before there is a bucket.
	budget time.Duration
}

// New returns a Fleet without a bucket.
func New(o Options) *Fleet {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Panicked == nil {
		o.Panicked = func() {}
	}
	if o.Store == nil {
		o.Store = noStore{}
	}
	f := &Fleet{local: o, log: o.Logger, budget: headerBudget}
	f.limits.Store(new(Limits))
	return f
}

// SetLimits changes how much is kept in the bucket.
func (f *Fleet) SetLimits(l Limits) { f.limits.Store(&l) }

// Use makes the Fleet use another bucket, under the name that its Status tells; nil = none.
// Uploads to the old one that are under way are given up. It returns once it is known what
// other gateways have removed, or that the bucket does not tell.
func (f *Fleet) Use(name string, objects bucket.Objects) {
	f.using.Lock()
	defer f.using.Unlock()
	var d *depot
	if objects != nil {
		d = newDepot(name, objects, f)
		d.purges.await(d.ctx)
		d.uploads.begin()
		d.start(d.purges.follow)
		for _, task := range []func(){d.purges.work, d.purges.keep, d.pins.follow} {
			d.start(task)
		}
		d.start(func() { d.used.Run(d.ctx) })
		d.start(func() { d.cleaner.Run(d.ctx) })
	}
	if old := f.depot.Swap(d); old != nil {
		old.close()
	}
}

// Close ends all that is under way.
func (f *Fleet) Close() { f.Use("", nil) }

// Filled is told how downloads end: what the bucket, or another
// gateway, has sent may have been wrong.
func (f *Fleet) Filled(e mirror.FillEvent) {
	if e.Finished {
		f.following.filled(e.Digest, e.Class)
	}
	d := f.depot.Load()
	if d == nil || !e.Finished {
		return
	}
	key := blobKey(e.Digest)
	if d.served.Drop(key) && (e.Class == oci.ClassDigest || e.Class == oci.ClassLength) {
		d.distrust(job{kind: wrong, digest: e.Digest, name: key})
	}
}

// upload has something brought to the bucket, in a while.
func (f *Fleet) upload(jobs ...job) {
	if d := f.depot.Load(); d != nil {
		d.uploads.add(jobs...)
	}
}

// use notes that something was used which the bucket has, or is about to.
func (f *Fleet) use(of digest.Digest, manifest bool) {
	if d := f.depot.Load(); d != nil {
		d.used.Note(of, manifest)
	}
}

// Shared returns the key and the size of a blob that the bucket has.
func (f *Fleet) Shared(ctx context.Context, d digest.Digest) (key string, size int64, ok bool) {
	depot := f.depot.Load()
	if depot == nil {
		return "", 0, false
	}
	info, err := reader{depot: depot}.head(ctx, blobKey(d))
	return info.Key, info.Size, err == nil
}

// Used notes that a client has got a blob from the bucket itself.
func (f *Fleet) Used(d digest.Digest) { f.use(d, false) }

// survive keeps a panic from taking the server down. It is to be deferred.
func (f *Fleet) survive(task string) {
	if p := recover(); p != nil {
		f.local.Panicked()
		f.log.Error("panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}
