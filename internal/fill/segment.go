package fill

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

var (
	errStopped  = errors.New("segment is stopped")
	errNoRanges = errors.New("the upstream ignores ranges")
	errReplaced = errors.New("another segment takes its place")
)

// segment is one worker of a fill, pulling one claim after another. A claim is
// from start to where the next covered byte or the next claim begins, which can
// come nearer while it is worked on. start and what follows, up to sought, are guarded
// by workers.mu once the segment is launched; the rest is the worker's own.
type segment struct {
	w     *workers
	ctx   context.Context
	stop  context.CancelCauseFunc
	start int64
	pos   int64 // how far it got
	began time.Time
	bytes int64 // since began, or since the last failure
	speed pace.Meter
	extra bool // only for speed
	// leaving says that it was told to, and that another one has its place.
	leaving bool
	// sought says that a reader waits where it began.
	sought bool

	body *oci.BlobBody // an answer that is there already
	// buffer is what it reads to; what is in it may be lent to the hasher.
	buffer *handoff
	intake intake
	goOn   <-chan struct{} // closed when it may go on; nil = at once
}

// intake is how the bytes of a connection came in.
type intake struct {
	heard  bool          // one has
	shared bool          // they are not the source's own
	waited time.Duration // for them, since they were last told of
	// queued is how many lay unread when last looked at, and unlooked how many were
	// read since.
	queued, unlooked int64
}

// note notes a Read of n bytes, and looks at what has come in over the connection and
// lies unread, once for each buffer.
func (i *intake) note(body *oci.BlobBody, n int, waited time.Duration) {
	i.waited += waited
	if i.unlooked += int64(n); i.unlooked >= segmentBuffer && body.Queued != nil {
		i.queued, i.unlooked = body.Queued(), 0
	}
}

func (s *segment) close() {
	if body := s.take(); body != nil {
		_ = body.Close()
	}
	s.stop(nil)
}

func (s *segment) take() *oci.BlobBody {
	body := s.body
	s.body = nil
	return body
}

// work pulls claim after claim until there is none left to take.
func (s *segment) work() {
	for {
		err := s.pull()
		var again bool
		if err == nil {
			again = s.w.claim(s)
		} else {
			again = s.w.retry(s, err)
		}
		if !again {
			return
		}
	}
}

// pull gets the rest of the segment's claim with one GET.
func (s *segment) pull() error {
	limit, size := s.w.limitOf(s)
	body, err := s.get(limit, size)
	if body == nil || err != nil {
		return err
	}
	defer body.Close()
	s.intake.shared = body.Shared != ""
	if body.Size >= 0 && size >= 0 && body.Size != size || body.Offset > s.pos {
		return oci.UpstreamError(oci.ClassLength, "", "the upstream sent another part of the blob than was asked for",
			fmt.Errorf("want %d of %d, got %d of %d", s.pos, size, body.Offset, body.Size))
	}
	if body.Offset < s.pos {
		if !s.w.alone(s) {
			return errNoRanges
		}
		if _, err := io.CopyN(io.Discard, body, s.pos-body.Offset); err != nil {
			return err
		}
	}
	return s.receive(body, limit)
}

// get returns the answer that is there already, or gets one, for what is left up to
// limit; nil if nothing is.
func (s *segment) get(limit, size int64) (*oci.BlobBody, error) {
	if body := s.take(); body != nil || limit <= s.pos {
		return body, nil
	}
	length := int64(-1)
	if limit < size {
		length = limit - s.pos
	}
	body, err := newFetch(s.w.f, s).get(s.pos, length)
	return &body, err
}

// receive writes a body to the part, up to limit.
func (s *segment) receive(body *oci.BlobBody, limit int64) error {
	f := s.w.f
	part, _ := f.content.at(0)
	defer func() {
		f.hasher.part(s.buffer)
		s.buffer = nil
	}()
	for s.pos < limit {
		var space []byte
		s.buffer, space = f.hasher.space(s.buffer)
		asked := f.Now()
		n, err := body.Read(space[:min(int64(len(space)), limit-s.pos)])
		s.intake.note(body, n, f.Now().Sub(asked))
		if n > 0 {
			// No other segment can have claimed any of these bytes meanwhile:
			// one begins farther ahead than a buffer is long.
			if _, err := part.WriteAt(space[:n], s.pos); err != nil {
				f.breakOff(err)
				return errStopped
			}
			var own hash.Hash
			if limit, own = s.w.advance(s, int64(n)); own != nil {
				f.hasher.hash(own, space[:n])
				limit, _ = s.w.limitOf(s)
			}
		}
		if s.goOn != nil && s.pos < limit && err == nil {
			s.standBack()
			limit, _ = s.w.limitOf(s)
		}
		switch {
		case s.pos >= limit:
		case errors.Is(err, io.EOF):
			defer f.changes.announce()
			return f.outcome.end(&f.hasher, s.pos, body.Size)
		case err != nil:
			return err
		}
	}
	return nil
}

// standBack waits until the segment may go on, or a client waits for what comes next.
func (s *segment) standBack() {
	f, upstream := s.w.f, s.w.f.Scope.Upstream
	f.Uplinks.Stand(upstream, 1)
	defer f.Uplinks.Stand(upstream, -1)
	for {
		seen := f.changes.seen()
		if s.w.awaits(s) || f.outcome.halted() {
			return
		}
		change := f.changes.after(seen)
		if change == nil {
			continue
		}
		select {
		case <-s.goOn:
			return
		case <-s.ctx.Done():
			return
		case <-change:
		case <-f.After(pace.LookEvery):
			f.Uplinks.Look(upstream, f.Now())
		}
	}
}

// distant reports whether it will be long until the segment comes to off, with so many
// bytes before that; if not, after how long to look again, 0 = at the next change.
func (s *segment) distant(off, missing int64, now time.Time) (again time.Duration, far bool) {
	near := off-s.pos <= segmentBuffer // it may be reading just that
	switch {
	case near && s.leaving:
		return leaveTime, false
	case near:
		return 0, false
	case s.leaving:
		return 0, true
	}
	expected, measured, ok := s.speed.Wait(missing, now)
	switch waited := now.Sub(s.began); {
	case !ok:
		return max(answerTime-waited, 0), waited >= answerTime
	case measured < settleTime:
		return settleTime - measured, false
	}
	return settleTime, expected > farTime
}

// begin begins a claim.
func (s *segment) begin(off int64, now time.Time) {
	s.start, s.pos, s.began, s.bytes, s.speed = off, off, now, 0, pace.Meter{}
}
