package mirror

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// SetDeadlines shortens the deadlines of look-ups.
func (c *Cache) SetDeadlines(cold, stale time.Duration) {
	c.deadlines.cold, c.deadlines.stale = cold, stale
}

// TellAfter is how long a header waits for the upstream to tell the size.
func (c *Cache) TellAfter(d time.Duration) { c.downloads.SizePatience = d }

// LeftOf returns what is closed once a fill is not found any more that tells of its end.
func (c *Cache) LeftOf(e FillEvent) <-chan struct{} {
	for _, f := range c.fills.all() {
		if f.Digest == e.Digest && f.source.Name == e.Upstream {
			return f.Done()
		}
	}
	panic("a fill is gone before it has told of its end")
}

// SkipWaits makes every backoff and every recheck immediate.
func (c *Cache) SkipWaits() {
	c.downloads.After = func(time.Duration) <-chan time.Time {
		ch := make(chan time.Time, 1)
		ch <- time.Time{}
		return ch
	}
}

// CountWaits does the same, and returns how long they would have been in all.
func (c *Cache) CountWaits() (waited func() time.Duration) {
	c.SkipWaits()
	skipped := c.downloads.After
	var total atomic.Int64
	c.downloads.After = func(d time.Duration) <-chan time.Time {
		total.Add(int64(d))
		return skipped(d)
	}
	return func() time.Duration { return time.Duration(total.Load()) }
}

// HashInSegments has segments hash what they bring themselves where they can, however
// many downloads there are, or never.
func (c *Cache) HashInSegments(yes bool) {
	c.downloads.Processors = math.MaxInt64
	if yes {
		c.downloads.Processors = 0
	}
}

// makeParts has parts begin in another way, on top of the store.
func (c *Cache) makeParts(begin func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error)) {
	lower := c.store.Blobs
	if made, ok := lower.(madeParts); ok {
		lower = made.Blobs
	}
	c.store.Blobs = madeParts{lower, begin}
}

type madeParts struct {
	Blobs

	begin func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error)
}

func (m madeParts) Begin(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
	return m.begin(ctx, m.Blobs, scope, d, size)
}

// FailParts makes parts fail: at their making, or, where room >= 0, once that
// many bytes were written to one.
func (c *Cache) FailParts(room int64, err error) {
	c.makeParts(func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		if room < 0 {
			return nil, err
		}
		p, failure := lower.Begin(ctx, scope, d, size)
		if failure != nil {
			return nil, failure
		}
		return &fullPart{Part: p, room: room, err: err}, nil
	})
}

type fullPart struct {
	fill.Part

	room int64
	err  error
}

func (p *fullPart) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) <= p.room {
		return p.Part.WriteAt(b, off)
	}
	return 0, p.err
}

// FailCommits makes every commit fail after the fact, as a failing fsync does.
func (c *Cache) FailCommits() {
	c.makeParts(func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		p, err := lower.Begin(ctx, scope, d, size)
		return failingCommit{p}, err
	})
}

type failingCommit struct{ fill.Part }

func (failingCommit) Publish(int64) {}

func (p failingCommit) Commit(int64) error {
	return errors.Join(errors.New("input/output error"), p.Remove())
}

// HoldCommits makes every commit wait until the function that it returns is called.
func (c *Cache) HoldCommits() (release func()) {
	held := make(chan struct{})
	c.makeParts(func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		p, err := lower.Begin(ctx, scope, d, size)
		return heldCommit{p, held}, err
	})
	return sync.OnceFunc(func() { close(held) })
}

type heldCommit struct {
	fill.Part

	held <-chan struct{}
}

func (p heldCommit) Commit(size int64) error {
	<-p.held
	return p.Part.Commit(size)
}

// Turns counts turns, and requests that wait for one.
func (c *Cache) Turns() int {
	in, waiting := c.turns.Count()
	return in + waiting
}

// FailReads makes every part fail to be read at a place, unless err is nil.
func (c *Cache) FailReads(at int64, err error) {
	c.makeParts(func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		p, failure := lower.Begin(ctx, scope, d, size)
		if failure != nil {
			return nil, failure
		}
		return &unreadPart{Part: p, at: at, err: err}, nil
	})
}

type unreadPart struct {
	fill.Part

	at  int64
	err error
}

func (p *unreadPart) ReadAt(b []byte, off int64) (int, error) {
	if p.err != nil && off <= p.at && p.at < off+int64(len(b)) {
		return 0, p.err
	}
	return p.Part.ReadAt(b, off)
}

// WatchParts calls read and write before every ReadAt and WriteAt of a part; they may
// wait.
func (c *Cache) WatchParts(read, write func(off, n int64)) {
	c.makeParts(func(ctx context.Context, lower Blobs, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
		p, err := lower.Begin(ctx, scope, d, size)
		if err != nil {
			return nil, err
		}
		return &watchedPart{Part: p, read: read, write: write}, nil
	})
}

type watchedPart struct {
	fill.Part

	read, write func(off, n int64)
}

func (p *watchedPart) ReadAt(b []byte, off int64) (int, error) {
	p.read(off, int64(len(b)))
	return p.Part.ReadAt(b, off)
}

func (p *watchedPart) WriteAt(b []byte, off int64) (int, error) {
	p.write(off, int64(len(b)))
	return p.Part.WriteAt(b, off)
}

// WatchLooks calls look before it is looked whether a blob is stored.
func (c *Cache) WatchLooks(look func(digest.Digest)) {
	c.store.Blobs = watchedBlobs{c.store.Blobs, look}
}

type watchedBlobs struct {
	Blobs

	look func(digest.Digest)
}

func (w watchedBlobs) HasBlob(ctx context.Context, d digest.Digest) (trusted bool, err error) {
	w.look(d)
	return w.Blobs.HasBlob(ctx, d)
}

// WatchStanding returns what gets something once a connection stands back.
func (c *Cache) WatchStanding() <-chan struct{} {
	stands, after := make(chan struct{}, 1), c.downloads.After
	c.downloads.After = func(d time.Duration) <-chan time.Time {
		if d == pace.LookEvery {
			select {
			case stands <- struct{}{}:
			default:
			}
		}
		return after(d)
	}
	return stands
}

// StandBack has what no client waits for stand back at an upstream that is being
// asked for blobs, until the function that it returns is called.
func (c *Cache) StandBack(upstream string) (goOn func()) {
	now, added := c.now(), 0
	for receipt := (pace.Receipt{Bytes: 1 << 30, Waited: time.Hour, Awaited: true, Left: 1 << 40}); ; now = now.Add(pace.LookEvery) {
		c.downloads.Uplinks.Received(upstream, receipt, now)
		if c.downloads.Uplinks.Received(upstream, pace.Receipt{Bytes: 1}, now).GoOn != nil {
			break
		}
		if c.downloads.Uplinks.Take(upstream) { // which brings nothing more
			c.downloads.Uplinks.Begin(upstream)
			c.downloads.Uplinks.Received(upstream, pace.Receipt{First: true}, now)
			added++
		}
		time.Sleep(time.Millisecond)
	}
	for range added {
		c.downloads.Uplinks.End(upstream, false)
	}
	return func() { c.downloads.Uplinks.Look(upstream, now.Add(time.Hour)) }
}
