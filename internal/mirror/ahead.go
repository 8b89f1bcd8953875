package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// DefaultLookAheadSize is Upstream.LookAheadSize where that is 0.
const DefaultLookAheadSize = 20 << 30

const (
	// maxAhead is how many blobs of one image are pulled ahead.
	maxAhead = 128
	// maxAheadFailures end the looking ahead for an image, for aheadRest.
	maxAheadFailures = 3
	aheadRest        = time.Minute
)

// lookAhead has the rest of an image pulled once a fill of one of its layers, which a
// client gets as a whole, was answered. It is done once for each fill.
func (v view) lookAhead(f *sharedFill) {
	if v.LookAhead <= 0 || v.ranged || !f.looked.CompareAndSwap(false, true) {
		return
	}
	v.start(func() {
		defer v.survive("look ahead")
		if f.Opened(v.ctx) == nil {
			(&pullAhead{view: v}).run(f.Digest)
		}
	})
}

// pullAhead starts the fills of all blobs of an image, a few at a time, whether or not a
// client has asked for them: one asks for three at a time, and for all of them in the
// end. It takes turns of the client's, but leaves half of them to what that asks for, and
// what fails is tried again when it is asked for.
type pullAhead struct {
	view

	scouts scouts
}

// run pulls the image that a layer belongs to.
func (v *pullAhead) run(layer digest.Digest) {
	s := &v.scouts
	m, blobs := v.images.Begin(v.scope, layer, v.now())
	if m == nil {
		return
	}
	defer func() {
		rest := time.Time{}
		if s.failed() {
			rest = v.now().Add(aheadRest)
		}
		v.images.End(m, rest)
	}()
	left := v.LookAheadSize
	if left == 0 {
		left = DefaultLookAheadSize
	}
	limited, count := left > 0, 0
	for _, b := range blobs {
		if b.Digest == layer || !v.missing(b.Digest) || limited && b.Size > left {
			continue
		}
		if count++; count > maxAhead || !s.send(v.ctx) || v.ahead.Enter(v.ctx, v.Identity, v.LookAhead) != nil {
			return
		}
		most := left
		if !limited {
			most = 0
		}
		begun, may := v.try(b.Digest, most)
		if begun {
			left -= max(b.Size, 0)
		}
		if !may {
			break // the next layer that the client asks for goes on
		}
	}
	s.settle(v.ctx)
}

// try begins a fill with the slot that was taken for it, or gives that back. may is false
// where the client has no turn for it.
func (v *pullAhead) try(d digest.Digest, most int64) (begun, may bool) {
	var turn *turn
	defer func() {
		if !begun {
			turn.end()
			v.scouts.recall()
			v.ahead.Leave(v.Identity)
		}
	}()
	turn, may = v.tryTurn(true, (v.MissesPerClient+1)/2) // the client asks for other things, too
	begun = may && v.begin(d, most, turn)
	return begun, may
}

// missing reports whether a blob is neither stored nor known to be missing.
func (v *pullAhead) missing(d digest.Digest) bool {
	if v.within(d) {
		return false
	}
	return v.remembered(v.key(kindBlob, d.String()), false) == nil
}

// within reports whether a blob is stored, and need not be delivered once more.
func (v *pullAhead) within(d digest.Digest) bool {
	_, err := v.store.HasBlob(v.ctx, d)
	return err == nil && (v.linked(v.ctx, d).Proven || v.proof(v.ctx, d) != proofWhole)
}

// begin starts a fill that nobody waits for, of at most so many bytes; 0 = any.
// Its slot and its turn are given back with its end. It reports false if there is one
// already, or there can be none.
func (v *pullAhead) begin(d digest.Digest, most int64, turn *turn) (begun bool) {
	s := &v.scouts
	k := v.fillKey(d)
	mine, _, _ := v.fills.reserve(k, func(*sharedFill) bool { return false })
	if mine == nil {
		return false
	}
	defer func() {
		if !begun {
			v.fills.release(k)
		}
	}()
	if v.within(d) {
		return false
	}
	f := newFill(v.ctx, v.view, d, v.linked(v.ctx, d), &most)
	if begun = v.launch(k, mine, f, turn, func() {
		s.back(f.Outcome().Stored())
		v.ahead.Leave(v.Identity)
	}); !begun {
		return false
	}
	v.start(func() {
		if f.Opened(v.ctx) == nil {
			s.served()
		}
	})
	return true
}

// scouts find out whether an upstream has what an image names: no more are under way
// without an answer than may fail, until more and more were served. The zero value is
// ready. Safe for concurrent use.
type scouts struct {
	mu                    sync.Mutex
	sent, answered, fails int
	change                chan struct{} // nil = nobody waits
}

// send waits until one more may go, and reports false if none may any more.
func (s *scouts) send(ctx context.Context) bool {
	may := s.await(ctx, func() bool {
		unanswered, most := s.sent-s.answered-s.fails, maxAheadFailures-s.fails
		if s.fails == 0 {
			most += s.answered
		}
		return unanswered < most
	})
	if may {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent++
	}
	return may
}

// settle waits until all have got an answer.
func (s *scouts) settle(ctx context.Context) {
	s.await(ctx, func() bool { return s.sent <= s.answered+s.fails })
}

func (s *scouts) await(ctx context.Context, done func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.fails < maxAheadFailures && !done() {
		if s.change == nil {
			s.change = make(chan struct{})
		}
		change := s.change
		s.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return false
		}
	}
	return s.fails < maxAheadFailures
}

func (s *scouts) note(sent, answered, fails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent, s.answered, s.fails = s.sent+sent, s.answered+answered, s.fails+fails
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

// recall takes one back that was not sent.
func (s *scouts) recall() { s.note(-1, 0, 0) }

// served notes that the upstream serves one.
func (s *scouts) served() { s.note(0, 1, 0) }

// back notes how one has ended.
func (s *scouts) back(well bool) {
	if !well {
		s.note(0, 0, 1)
	}
}

func (s *scouts) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails >= maxAheadFailures
}
