// Package fill downloads blobs, each once for all who want it.
//
// # The life of a fill
//
//	New ──► Run: open ──► spool ─► Publish ─► verified ─► Commit ─► Done
//	             │ part,   │ segments         │ all is
//	             │ first   │ + hasher         │ released
//	             │ GET     │
//	             │         └► the part breaks: small blobs begin anew in memory,
//	             │            of others readers go on by themselves (split)
//	             └► an error: nothing is released any more; the part is kept or removed
//
// What a fill knows lies in four places, each with its own lock:
//
//	content   the part, which bytes are in it, and where readers wait for others
//	hasher    how far the bytes from the beginning are hashed, and what is handed to it
//	workers   the segments: who pulls what, who begins next, what follows a failure
//	outcome   size, right or wrong, and what is in the way: so, what is released
//
// audience counts who has an interest, and changes wakes whoever waits. Locks are taken
// in the order workers, audience, outcome, and the others last, one at a time.
package fill

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"runtime/debug"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Source is what blobs are downloaded from, such as one repository of an upstream.
type Source interface {
	// Blob gets the bytes [offset, offset+length) of a blob, to the end if length is
	// negative. The body is not verified. It ends in io.ErrUnexpectedEOF when it was
	// cut; then the caller may ask again from where it got to.
	Blob(ctx context.Context, d digest.Digest, offset, length int64) (oci.BlobBody, error)
}

// Policy is what the owner of a fill decides and remembers.
type Policy interface {
	// Part makes the part, or reopens the one that was suspended; -1 = the size is not
	// known.
	Part(ctx context.Context, size int64) (Part, error)
	// Suspended reports whether an earlier fill has left a part, and the size that the
	// blob has by that; -1 = it does not tell.
	Suspended(ctx context.Context) (size int64, ok bool)
	// Summon is called before the first GET. What it returns is for a blob that the
	// source has not: it reports whether it is worth to ask once more.
	Summon() func(context.Context) bool
	// Verified is called once the bytes are right, before they are released.
	Verified(ctx context.Context, size int64)
	// Failed is called after a failure, and before Done is closed.
	Failed(o Outcome)
}

// Options make a Fill.
type Options struct {
	*Downloads

	Digest digest.Digest
	Scope  oci.Scope // that is asked; its Upstream is what limits are shared by
	Source Source
	Policy Policy
	// Size is what is expected, which is a hint; -1 = nothing.
	Size int64
	// Doubted says that a size which clients were told turned out to be wrong: none gets it
	// before the upstream has answered.
	Doubted bool
	// Proven says that the scope is known to have the blob, without the GET, and Known
	// that the upstream serves the repository, so far as is known here.
	Proven, Known bool
	// Parallel is how many connections may pull the blob; 0 and 1 = one.
	Parallel int
	// MaxFills bounds the fills of the upstream that run at a time; 0 = no limit. Hurry ends
	// the wait for the others.
	MaxFills int
	// Ahead says that no client has asked for the blob yet, and Most how many bytes it
	// may have until one does; 0 = any number.
	Ahead bool
	Most  int64
	// Log gets what happens, with what names the blob.
	Log *slog.Logger
}

// Fill is one download of one blob, shared by every reader. One goroutine, Run, owns
// it; it starts the hasher and the segments, and has waited for all of them before it
// ends. The part is open while anybody holds a reference: Run and each client have one.
type Fill struct {
	Options

	ctx    context.Context // of the GETs
	cancel context.CancelFunc
	queued context.Context // ends when it waits for no other fill any more
	hurry  context.CancelFunc
	done   chan struct{}
	sender sender

	audience audience
	outcome  outcome
	content  content
	hasher   hasher
	workers  workers
	changes  changes
}

// New makes a fill that lives until ctx ends. The caller starts Run, and has a
// reference, unless the fill is ahead of the requests.
func New(ctx context.Context, o Options) *Fill {
	f := &Fill{Options: o, done: make(chan struct{}), audience: newAudience(o.Ahead, o.Most)}
	f.outcome.verdict.sizing = sizing{size: -1, hint: o.Size}
	f.sender.Options, f.sender.party, f.sender.known = &f.Options, f.audience.party, o.Known
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.queued, f.hurry = context.WithCancel(f.ctx)
	f.workers.f = f
	f.workers.restart(f.ctx)
	f.hasher.restart(0, -1)
	return f
}

// Run downloads, verifies and stores. ended is called before Done is closed: once it has
// returned, the blob is in the store or cannot be.
func (f *Fill) Run(ended func(Outcome)) {
	if err := f.download(); err != nil {
		f.Policy.Failed(f.summary(err))
		f.fail(err)
	}
	f.settle()
	ended(f.Outcome())
	close(f.done)
	f.release()
}

// Hurry has the fill wait for no other one, however many there are.
func (f *Fill) Hurry() { f.hurry() }

// Done is closed at the end.
func (f *Fill) Done() <-chan struct{} { return f.done }

func (f *Fill) download() (err error) {
	defer f.recovered(&err)
	leave, err := f.Enter(f.queued, f.Scope.Upstream, f.MaxFills)
	if err != nil && f.ctx.Err() == nil {
		leave, err = f.Enter(f.ctx, f.Scope.Upstream, 0)
	}
	if err != nil {
		return ErrClosed()
	}
	defer leave()
	f.running.Add(1)
	defer f.running.Add(-1)
	if direct, err := f.open(); err != nil || direct {
		return err
	}
	h, err := f.spool()
	if v := f.outcome.now(); err == nil && v.broken() != nil {
		f.trustHint()
		switch v = f.outcome.now(); {
		case v.size < 0 || v.disputed && v.size > WholeSize:
			return errUnstorable(v.cause)
		case v.size > WholeSize:
			f.outcome.update(func(v *verdict) { v.split = &split{at: f.hasher.hashed, state: h} })
			f.changes.announce()
			return nil
		}
		f.restart(v.size)
		h, err = f.spool()
	}
	if err != nil {
		return err
	}
	if got := digest.NewDigest(f.Digest.Algorithm(), h); got != f.Digest {
		return oci.UpstreamError(oci.ClassDigest, "",
			"the upstream's bytes do not match the digest", fmt.Errorf("want %s, got %s", f.Digest, got))
	}
	f.store()
	return nil
}

// store releases and stores a blob that is right.
func (f *Fill) store() {
	part, _ := f.content.at(0)
	size := f.outcome.size()
	f.Policy.Verified(f.ctx, size)
	stored := f.outcome.well()
	if stored {
		// What a client has in full, the next process can serve, however this one ends.
		part.Publish(size)
	}
	f.outcome.update(func(v *verdict) { v.verified = true })
	f.changes.announce()
	if !stored {
		return
	}
	// The readers have all they want: they wait neither for room nor for the disk.
	if err := part.Commit(size); err != nil {
		f.outcome.update(func(v *verdict) { v.cause = err })
	}
}

// spool runs the segments and the hasher until everything is covered and hashed,
// or something is in the way: an error, or the outcome's cause.
func (f *Fill) spool() (h hash.Hash, err error) {
	h = f.Digest.Algorithm().Hash()
	part, _ := f.content.at(0)
	hashed := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if err != nil {
				f.fail(err)
			}
			hashed <- err
		}()
		defer f.recovered(&err)
		if err = f.hasher.run(f.ctx, h, part); err != nil {
			err = f.unreadable(fmt.Errorf("blob %s: %w", f.Digest, err))
		}
	}()
	f.workers.running.Wait()
	f.hasher.rest()
	f.changes.announce()
	err = <-hashed
	switch v := f.outcome.now(); {
	case v.err != nil:
		return nil, v.err
	case f.ctx.Err() != nil:
		return nil, ErrClosed()
	case err != nil:
		return nil, err
	case v.cause == nil && f.hasher.hashed != v.size:
		return nil, fmt.Errorf("fill %s: %d bytes of %d", f.Digest, f.hasher.hashed, v.size)
	}
	return h, nil
}

// unreadable gives the part up. Of a small blob nobody has got a byte, so that it
// can be begun anew elsewhere; the readers of others have none to go on from.
func (f *Fill) unreadable(err error) error {
	if v := f.outcome.now(); v.size >= 0 && v.size <= WholeSize && !v.inMemory {
		f.breakOff(err)
		return nil
	}
	return err
}

// restart begins anew in memory. Nobody has got a byte of the old part.
func (f *Fill) restart(size int64) {
	old, _ := f.content.at(0)
	if err := errors.Join(old.Remove(), old.Close()); err != nil {
		f.Log.Warn("part not removed", "error", err)
	}
	f.content.set(newMemory(size), nil)
	f.outcome.update(func(v *verdict) { v.inMemory = true })
	f.hasher.restart(0, size)
	f.workers.restart(f.ctx)
	f.workers.launch(f.workers.new(0))
}

// recovered turns a panic into an error: a fill must never take the server down,
// nor leave its readers waiting.
func (f *Fill) recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("fill %s: panic: %v", f.Digest, p)
		f.Panicked()
		f.Log.Error("fill panicked", "panic", p, "stack", string(debug.Stack()))
	}
}

// trustHint has the size that was expected do, where it still can.
func (f *Fill) trustHint() bool {
	trusted := f.outcome.trustHint(&f.hasher)
	if trusted {
		f.changes.announce()
	}
	return trusted
}

// fail makes err final, unless the fill has failed before.
func (f *Fill) fail(err error) {
	f.outcome.fail(err)
	f.abort()
}

// abort stops everything once there is an error.
func (f *Fill) abort() {
	f.workers.halt()
	f.hasher.fail()
	f.changes.announce()
}

// breakOff stops the segments because the part is of no use any more.
func (f *Fill) breakOff(cause error) {
	f.outcome.breakOff(cause)
	if f.outcome.now().err != nil {
		f.hasher.fail()
	}
	f.workers.halt()
	f.changes.announce()
}

// Retain takes a reference for a client, as long as Run has one. It takes none of a
// fill that has failed.
func (f *Fill) Retain() bool {
	if !f.audience.join(&f.outcome) {
		return false
	}
	f.crowds.Join(f.Scope.Upstream, f.audience.party, 1, f.Now())
	f.changes.announce()
	return true
}

// Leave is the release of a client's reference.
func (f *Fill) Leave() {
	f.crowds.Join(f.Scope.Upstream, f.audience.party, -1, f.Now())
	f.release()
}

// release gives a reference back. The last one closes.
func (f *Fill) release() {
	if !f.audience.leave() {
		return
	}
	if err := errors.Join(f.outcome.now().split.close(), f.content.close()); err != nil {
		f.Log.Warn("fill not closed", "error", err)
	}
	f.workers.halt()
	f.cancel()
}
