package fleet

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet/account"
	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// uploaders is how many uploads run at a time.
	uploaders = 4
	// maxUploads bounds those that wait. What they are of is read when it is their turn.
	maxUploads = 1 << 14
	// maxTries is how often one upload is tried while the bucket takes others.
	maxTries = 3
)

// kind is what an upload is of.
type kind int

const (
	blob kind = iota
	manifest
	linked    // that a digest is proven to be a scope's
	refuted   // that it is not any more
	tagged    // what a tag means
	forgotten // that a tag means nothing any more
	referred  // what refers to a digest
	wrong     // that an object has to go; its key is the name
)

// job is one upload. It tells where to look, not what is there: that is as it is when the
// turn comes, or nothing any more.
type job struct {
	kind   kind
	scope  oci.Scope
	digest digest.Digest
	name   string
}

// uploads are what waits to be written to the bucket. Nobody waits for them. Safe for
// concurrent use.
type uploads struct {
	writer

	queue  *account.Queue[job]
	behind atomic.Bool // something was not uploaded
}

func newUploads(d *depot, f *Fleet) *uploads {
	return &uploads{writer: writer{depot: d, fleet: f}, queue: account.NewQueue[job](maxUploads)}
}

// begin begins to upload. What an earlier process has not uploaded is not known.
func (u *uploads) begin() {
	u.behind.Store(true)
	u.depot.start(func() {
		defer u.fleet.survive("greet")
		u.depot.greet()
	})
	u.depot.start(func() { u.fleet.catchUp(u.depot) })
	for range uploaders {
		u.depot.start(func() {
			for u.next() {
			}
		})
	}
}

// add has something uploaded, unless that is about to be anyway.
func (u *uploads) add(jobs ...job) {
	if !u.queue.Add(jobs...) {
		u.behind.Store(true)
	}
}

// next does one upload once there is one. It reports false at the end.
func (u *uploads) next() bool {
	j, end, ok := u.queue.Next(u.depot.ctx)
	if !ok {
		return false
	}
	defer end()
	if err := u.try(u.depot.ctx, j); err != nil {
		if !errors.Is(err, bucket.ErrRefused) { // which it would be again
			u.behind.Store(true)
		}
		u.depot.log.Warn("not uploaded", "error", err)
	}
	return true
}

// try does one upload, over as many failures of the bucket as there are, but few of the
// upload alone. It is no error that it was given up with ctx.
func (u *uploads) try(ctx context.Context, j job) (err error) {
	defer u.fleet.survive("upload")
	for tries := 0; tries < maxTries; {
		if !u.depot.writes.Await(ctx) {
			return nil
		}
		if err = u.once(ctx, j); err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, bucket.ErrRefused) {
			return err
		}
		if u.depot.writes.Open() == nil {
			tries++
		}
	}
	return err
}

// once tries one upload, and notes how the bucket has taken it.
func (u *uploads) once(ctx context.Context, j job) error {
	err := failure(u.do(ctx, j))
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		u.depot.counts.failures.Add(1)
	}
	if errors.Is(err, bucket.ErrRefused) {
		u.depot.writes.Note(nil) // it is well
	} else {
		u.depot.writes.Note(err)
	}
	return err
}
