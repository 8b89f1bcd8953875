package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"runtime/debug"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
	"github.com/pullgate/pullgate/storage"
)

const (
	// wholeSize is up to where blobs are verified before their first byte.
	wholeSize = 1 << 20
	// heldBack is how much of the end of larger ones waits for that.
	heldBack = 64 << 10
)

// held returns how many bytes at the end of a blob are released to nobody
// before it is verified.
func held(size int64) int64 {
	if size <= wholeSize {
		return size
	}
	return heldBack
}

// fill is one download of one blob, shared by every reader.
//
// It is in Cache.fills from its making until its blob is in the store or cannot
// be, so that there is always one of the two to be found. One goroutine, run,
// owns it; it starts the hasher and the segments, and has waited for all of
// them before it ends. The part is open while anybody holds a reference: run
// and each reader have one.
type fill struct {
	c        *Cache
	digest   digest.Digest
	source   view  // whose upstream is asked
	proven   bool  // the source's link is, without the GET
	expected int64 // size that the source's link tells, which is a hint; -1 = unknown
	guessed  bool  // the upstream tells no size: the hint has to do
	began    time.Time
	span     trace.Span
	ctx      context.Context // of bodies that readers take over
	cancel   context.CancelFunc
	done     chan struct{} // closed once it is out of Cache.fills
	turn     *turn         // of the client that started it
	caller   caller
	party    *pace.Party // of the clients; guarded by Cache.crowds

	workers sync.WaitGroup

	mu       sync.Mutex
	change   chan struct{} // closed at the next change; nil = nobody waits
	refs     int
	pulling  context.Context // of the segments
	stop     context.CancelFunc
	opened   bool                 // the upstream has answered, or need not be asked
	size     int64                // -1 = unknown
	learned  bool                 // the size, from the end of the body
	right    bool                 // the bytes match the digest
	sharers  map[oci.Scope]sharer // who follows it besides
	disputed bool                 // the upstream announced another size than was expected
	part     part
	covered  extents
	hashed   int64     // only who is hashing moves it, and may look without f.mu
	sum      hash.Hash // of the bytes before hashed; nil = there is no hasher
	hashing  bool      // somebody has sum
	unhashed sync.Cond // on mu: there may be something for the hasher
	fresh    []*fresh  // covered bytes that it need not read back, in order
	deaf     bool      // it takes no more of them
	taken    sync.Cond // on mu: some were taken
	resumed  bool      // the part holds bytes of an earlier fill
	segments segments
	each     float64 // bytes per second of one connection, as was last known
	crowded  bool    // more connections to the upstream would be of no use
	// sequential is set where further segments are of no use.
	sequential bool
	stumbles   stumbles
	warned     bool    // that it was cut off
	seekers    seekers // where readers wait
	ahead      bool    // no client has asked for it yet
	looked     bool    // for what else belongs to the image
	most       int64   // bytes that it may have until a client does; 0 = any number
	resting    bool    // the upstream has refused it, and is asked again in a moment
	received   int64
	idle       bool // no segment is running any more
	verified   bool
	err        error  // final; nothing is released any more
	cause      error  // why the blob cannot be stored; no error for readers
	split      *split // where readers go on by themselves
}

// newFill makes the fill that a request in ctx needs. The caller starts run, and
// has a reference, unless the fill is ahead of the requests.
func newFill(ctx context.Context, source view, d digest.Digest, link storage.Link, ahead bool) *fill {
	f := &fill{
		c: source.Cache, digest: d, source: source, proven: link.Proven, expected: toldSize(d, link.Size),
		began: source.now(), done: make(chan struct{}), refs: 1, size: -1, party: pace.NewParty(0), ahead: ahead, looked: ahead,
	}
	if !ahead {
		f.refs, f.party = 2, pace.NewParty(1)
	}
	f.caller = caller{view: source, digest: d, party: f.party, known: link.Proven || link.Size >= 0}
	if source.remembered(source.key(kindSize, d.String()), false) != nil {
		f.expected = -1
	}
	// The fill outlives the request, so its span is a root of its own.
	spanned, span := tracer(ctx).Start(f.c.ctx, "mirror.fill", trace.WithNewRoot(),
		trace.WithLinks(trace.LinkFromContext(ctx)), trace.WithAttributes(
			attribute.String("upstream", source.Name),
			attribute.String("repository", source.repository),
			attribute.String("digest", d.String()),
		))
	f.taken.L, f.unhashed.L = &f.mu, &f.mu
	f.span = span
	f.ctx, f.cancel = context.WithCancel(spanned)
	f.pulling, f.stop = context.WithCancel(f.ctx)
	return f
}

// toldSize returns what a size that was told is worth; -1 = nothing. Manifests that
// leave it out say 0, which is one digest's alone.
func toldSize(d digest.Digest, size int64) int64 {
	if size == 0 && d != d.Algorithm().FromBytes(nil) {
		return -1
	}
	return size
}

// run downloads, verifies, stores, and takes the fill out of the cache.
func (f *fill) run() {
	f.c.observe(FillEvent{
		Upstream: f.source.Name, Repository: f.source.repository, Digest: f.digest, Size: f.expected,
	})
	stored, err := f.download()
	if err != nil {
		f.remember(err) // before anybody hears of it, and asks again
		f.fail(err)
	}
	f.settle()
	f.report(stored)
	f.c.fills.release(f.source.fillKey(f.digest))
	f.turn.end()
	close(f.done)
	f.release()
}

func (f *fill) download() (stored bool, err error) {
	defer f.recovered(&err)
	if err := f.c.slots.Enter(f.pulling, f.source.Identity, f.source.MaxFills); err != nil {
		return false, errClosed()
	}
	defer f.c.slots.Leave(f.source.Identity)
	f.c.downloads.Add(1)
	defer f.c.downloads.Add(-1)
	if err := f.open(); err != nil {
		return false, err
	}
	if f.detached() {
		return false, nil
	}
	h, err := f.spool()
	if cause := f.broken(); err == nil && cause != nil {
		f.adopt()
		switch {
		case f.size < 0 || f.disputed && f.size > wholeSize:
			return false, f.unstorable(cause)
		case f.size > wholeSize:
			f.detach(&split{at: f.hashed, state: h})
			return false, nil
		}
		if err := f.part.Remove(); err != nil {
			f.c.log.Warn("part not removed", "digest", f.digest, "error", err)
		}
		f.restart(newMemory(f.size))
		h, err = f.spool()
	}
	if err != nil {
		return false, err
	}
	if got := digest.NewDigest(f.digest.Algorithm(), h); got != f.digest {
		return false, oci.UpstreamError(oci.ClassDigest, "",
			"the upstream's bytes do not match the digest", fmt.Errorf("want %s, got %s", f.digest, got))
	}
	f.prove()
	if f.cause == nil {
		// What a client has in full, the next process can serve, however this one ends.
		f.part.Publish(f.size)
	}
	f.mu.Lock()
	f.verified = true
	f.changed()
	f.mu.Unlock()
	if f.cause != nil {
		return false, nil
	}
	// The readers have all they want: they wait neither for room nor for the disk.
	if err := f.part.Commit(f.size); err != nil {
		f.mu.Lock()
		f.cause = err
		f.mu.Unlock()
		return false, nil
	}
	return true, nil
}

// spool runs the segments and the hasher until everything is covered and hashed,
// or something is in the way: an error, or f.cause.
func (f *fill) spool() (h hash.Hash, err error) {
	h = f.digest.Algorithm().Hash()
	f.mu.Lock()
	f.sum = h
	f.mu.Unlock()
	hashed := make(chan error, 1)
	go func() {
		var err error
		defer func() { hashed <- err }()
		defer f.recovered(&err)
		err = f.hash(h)
	}()
	f.workers.Wait()
	f.mu.Lock()
	f.idle = true
	f.changed()
	f.mu.Unlock()
	err = <-hashed
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return nil, f.err
	case f.ctx.Err() != nil:
		return nil, errClosed()
	case err != nil:
		return nil, err
	case f.cause == nil && f.hashed != f.size:
		return nil, fmt.Errorf("fill %s: %d bytes of %d", f.digest, f.hashed, f.size)
	}
	return h, nil
}

// recovered turns a panic into an error: a fill must never take the server down,
// nor leave its readers waiting.
func (f *fill) recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("fill %s: panic: %v", f.digest, p)
		f.c.panics()
		f.c.log.Error("fill panicked", "digest", f.digest, "panic", p, "stack", string(debug.Stack()))
	}
}

// fail makes err final, unless the fill has failed before.
func (f *fill) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failLocked(err)
}

func (f *fill) failLocked(err error) {
	if f.err == nil {
		f.err = err
	}
	f.stop()
	f.changed()
}

// changed wakes whoever waits; f.mu is held.
func (f *fill) changed() {
	if !f.hashing {
		f.unhashed.Signal()
	}
	if f.change != nil {
		close(f.change)
		f.change = nil
	}
}

// waiting returns what the next change closes; f.mu is held.
func (f *fill) waiting() <-chan struct{} {
	if f.change == nil {
		f.change = make(chan struct{})
	}
	return f.change
}

// retain takes a reference. The fill is in Cache.fills and the cache is locked,
// so run still has one. It takes none of a fill that has failed.
func (f *fill) retain() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false
	}
	f.refs++
	f.ahead = false
	f.c.crowds.Join(f.source.Identity, f.party, 1, f.c.now())
	f.changed()
	return true
}

// leave is the release of a client's reference.
func (f *fill) leave() {
	f.c.crowds.Join(f.source.Identity, f.party, -1, f.c.now())
	f.release()
}

// release gives a reference back. The last one closes.
func (f *fill) release() {
	f.mu.Lock()
	f.refs--
	last := f.refs == 0
	f.mu.Unlock()
	if !last {
		return
	}
	var errs []error
	if f.split != nil {
		errs = append(errs, f.split.close())
	}
	if f.part != nil {
		errs = append(errs, f.part.Close())
	}
	if err := errors.Join(errs...); err != nil {
		f.c.log.Warn("fill not closed", "digest", f.digest, "error", err)
	}
	f.stop()
	f.cancel()
}

func (f *fill) progress() (readers int, received int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refs - 1, f.received
}
