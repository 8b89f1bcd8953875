package fleet

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

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
	// Logger gets what happens to the bucket; nil = discard.
	Logger *slog.Logger
	// Panicked is called when a task panics, which ends that one. nil = only the log tells.
	Panicked func()
}

// Fleet is what one gateway has to do with the others: the bucket that they share, and what
// they answer each other. It belongs to a store, and lives as long; which bucket it uses, and
// whom it asks, if any, may change. All methods are safe for concurrent use.
type Fleet struct {
	local Options
	log   *slog.Logger
	depot atomic.Pointer[depot] // nil = there is no bucket
	using sync.Mutex            // held while the bucket changes

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
	return &Fleet{local: o, log: o.Logger, budget: headerBudget}
}

// Use makes the Fleet use another bucket, under the name that its Status tells; nil = none.
// Uploads to the old one that are under way are given up.
func (f *Fleet) Use(name string, objects bucket.Objects) {
	f.using.Lock()
	defer f.using.Unlock()
	var d *depot
	if objects != nil {
		d = newDepot(name, objects, f)
		d.uploads.begin()
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
	if d.served.drop(key) && (e.Class == oci.ClassDigest || e.Class == oci.ClassLength) {
		d.distrust(key)
	}
}

// upload has something brought to the bucket, in a while.
func (f *Fleet) upload(jobs ...job) {
	if d := f.depot.Load(); d != nil {
		d.uploads.add(jobs...)
	}
}

// survive keeps a panic from taking the server down. It is to be deferred.
func (f *Fleet) survive(task string) {
	if p := recover(); p != nil {
		f.local.Panicked()
		f.log.Error("panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
	}
}
