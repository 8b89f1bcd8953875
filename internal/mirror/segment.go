package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

const (
	segmentBuffer = 128 << 10
	maxSegments   = 4
)

var (
	errStopped  = errors.New("segment is stopped")
	errNoRanges = errors.New("the upstream ignores ranges")
	errReplaced = errors.New("another segment takes its place")
)

// segment is one worker of a fill, pulling one claim after another. A claim is
// from start to where the next covered byte or the next claim begins, which can
// come nearer while it is worked on. start and what follows are guarded by
// fill.mu once the fill is opened.
type segment struct {
	ctx   context.Context
	stop  context.CancelCauseFunc
	body  *oci.BlobBody // an answer that is there already; owned by the worker
	start int64
	pos   int64 // how far it got
	began time.Time
	bytes int64 // since began, or since the last failure
	speed pace.Meter
	extra bool // only for speed
	// leaving says that it was told to, and that another one has its place.
	leaving bool
	// wanted says that a reader waits where it began.
	wanted bool
	heard  bool // a byte has come
	// buffer is what the worker reads to; what is in it may be lent to the hasher.
	buffer *fresh
	// waited is for bytes, since they were last told of.
	waited time.Duration
	// queued is how many lay unread when last looked at, and unlooked how many were
	// read since.
	queued, unlooked int64
	over             <-chan struct{} // when it may go on; nil = at once
}

func (f *fill) newSegment(pos int64) *segment {
	s := &segment{pos: pos}
	s.ctx, s.stop = context.WithCancelCause(f.pulling)
	return s
}

func (s *segment) close() {
	if body := s.take(); body != nil {
		_ = body.Close()
	}
}

func (s *segment) take() *oci.BlobBody {
	body := s.body
	s.body = nil
	return body
}

// launch starts a worker; f.mu is held, and either run has not yet begun to wait
// for workers or another one is running.
func (f *fill) launch(s *segment) {
	f.c.uplinks.Begin(f.source.Identity)
	s.start, s.began = s.pos, f.c.now()
	f.segments = append(f.segments, s)
	f.workers.Go(func() {
		var err error
		func() {
			defer f.recovered(&err)
			f.work(s)
		}()
		if err != nil {
			f.fail(err)
		}
		s.close()
		s.stop(nil)
		f.c.uplinks.End(f.source.Identity, !s.heard)
	})
}

// work pulls claim after claim until there is none left to take.
func (f *fill) work(s *segment) {
	for {
		err := f.pull(s)
		var again bool
		if err == nil {
			again = f.claim(s)
		} else {
			again = f.retry(s, err)
		}
		if !again {
			return
		}
	}
}

// pull gets the rest of the segment's claim with one GET.
func (f *fill) pull(s *segment) error {
	limit, size := f.limit(s)
	body := s.take()
	if body == nil {
		if limit <= s.pos {
			return nil
		}
		length := int64(-1)
		if limit < size {
			length = limit - s.pos
		}
		b, err := newErrand(f, s).get(s.pos, length)
		if err != nil {
			return err
		}
		body = &b
	}
	defer body.Close()
	if body.Size >= 0 && size >= 0 && body.Size != size || body.Offset > s.pos {
		return oci.UpstreamError(oci.ClassLength, "", "the upstream sent another part of the blob than was asked for",
			fmt.Errorf("want %d of %d, got %d of %d", s.pos, size, body.Offset, body.Size))
	}
	if body.Offset < s.pos {
		if !f.alone(s) {
			return errNoRanges
		}
		if _, err := io.CopyN(io.Discard, body, s.pos-body.Offset); err != nil {
			return err
		}
	}
	defer f.leaveRoom(s)
	for s.pos < limit {
		buffer := f.room(s)
		asked := f.c.now()
		n, err := body.Read(buffer[:min(int64(len(buffer)), limit-s.pos)])
		s.waited += f.c.now().Sub(asked)
		s.look(body, n)
		if n > 0 {
			// No other segment can have claimed any of these bytes meanwhile:
			// one begins farther ahead than a buffer is long.
			if _, err := f.part.WriteAt(buffer[:n], s.pos); err != nil {
				f.breakOff(err)
				return errStopped
			}
			var own hash.Hash
			if limit, own = f.advance(s, int64(n)); own != nil {
				limit = f.hashOwn(s, own, buffer[:n])
			}
		}
		if s.over != nil && s.pos < limit && err == nil {
			f.standBack(s, s.over)
			limit, _ = f.limit(s)
		}
		switch {
		case s.pos >= limit:
		case errors.Is(err, io.EOF):
			return f.ended(s.pos, body.Size)
		case err != nil:
			return err
		}
	}
	return nil
}

// look looks at what has come in over the connection and lies unread, once for each
// buffer.
func (s *segment) look(body *oci.BlobBody, n int) {
	if s.unlooked += int64(n); s.unlooked >= segmentBuffer && body.Queued != nil {
		s.queued, s.unlooked = body.Queued(), 0
	}
}

// limit returns where the segment's claim ends, and the size of the blob.
func (f *fill) limit(s *segment) (limit, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limitLocked(s), f.size
}

func (f *fill) limitLocked(s *segment) int64 {
	if f.covered.end(s.pos) > s.pos {
		return s.pos
	}
	limit := f.covered.next(s.pos)
	if f.size >= 0 {
		limit = min(limit, f.size)
	}
	for _, other := range f.segments {
		if other.start > s.start {
			limit = min(limit, other.start)
		}
	}
	return limit
}

// advance notes that n more bytes are in the part, and returns where the claim ends
// now, and with what the segment has to hash them; nil = somebody else does.
func (f *fill) advance(s *segment, n int64) (limit int64, own hash.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.c.now()
	s.speed.Add(n, now)
	f.covered.add(s.pos, s.pos+n)
	if own = f.takeSum(s, n); own == nil {
		f.lend(s, int(n))
	}
	s.pos += n
	s.bytes += n
	f.received += n
	if f.ahead && f.most > 0 && f.received > f.most {
		f.failLocked(errTooLarge())
	}
	r := pace.Receipt{Bytes: n, Waited: s.waited, Queued: s.queued, First: !s.heard, Awaited: f.awaited(s)}
	if f.size >= 0 {
		r.Left = f.covered.missing(0, f.size) / int64(len(f.segments))
	}
	a := f.c.uplinks.Received(f.source.Identity, r, now)
	s.heard, s.waited, s.over, f.each, f.crowded = true, 0, a.GoOn, a.Each, a.Crowded
	if a.More {
		f.quicken(a.Each)
	}
	f.changed()
	return f.limitLocked(s), own
}

// ended takes the end of a body that told the size as told, and came to an end at
// off, before the claim's. Where nobody tells the size, it is the end of the blob.
func (f *fill) ended(off, told int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.size < 0:
		f.size, f.learned = off, true
		f.changed()
		return nil
	case f.guessed && told < 0:
		return oci.UpstreamError(oci.ClassLength, "", "the upstream's blob is shorter than was told", nil)
	}
	return io.ErrUnexpectedEOF
}

// alone reports whether the segment is the only one, and makes it stay that.
func (f *fill) alone(s *segment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequential = true
	return len(f.segments) == 1 && f.segments[0] == s
}

// claim moves the segment to the next gap that none works on, or retires it.
func (f *fill) claim(s *segment) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.halted() {
		for off := f.covered.end(0); off < f.size; {
			if !slices.ContainsFunc(f.segments, func(o *segment) bool { return o != s && o.pos == off }) {
				s.begin(off, f.c.now())
				return true
			}
			next := f.covered.next(off)
			if next == math.MaxInt64 {
				break
			}
			off = f.covered.end(next)
		}
		// Nothing is left that nobody works on: share what others have most of.
		if off, ok := f.splitting(f.each); ok && !f.sequential && !f.crowded && f.source.Parallel > 1 {
			s.begin(off, f.c.now())
			return true
		}
	}
	f.retire(s)
	return false
}

// begin begins a claim.
func (s *segment) begin(off int64, now time.Time) {
	s.start, s.pos, s.began, s.bytes, s.speed = off, off, now, 0, pace.Meter{}
}

func (f *fill) retire(s *segment) {
	f.segments = slices.DeleteFunc(f.segments, func(o *segment) bool { return o == s })
}

// breakOff stops the segments because the part takes no more bytes.
func (f *fill) breakOff(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inMemory() {
		f.err = errors.Join(f.err, cause)
	} else if f.cause == nil {
		f.cause = cause
	}
	f.stop()
	f.changed()
}

// halted reports whether nothing is to be pulled any more; f.mu is held.
func (f *fill) halted() bool { return f.err != nil || f.cause != nil && !f.inMemory() }

func (f *fill) inMemory() bool {
	_, ok := f.part.(*memory)
	return ok
}
