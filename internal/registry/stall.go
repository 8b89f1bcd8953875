package registry

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stallAfter is how long a client may take no byte of an answer that it asked
// for. It holds a connection, an open file and a place among the readers.
const stallAfter = time.Minute

// stallChecks is how often a write is checked within that time.
const stallChecks = 4

// pieceSize is how much of a body has to be taken within that time, where it is
// copied; what the kernel sends is watched byte by byte.
const pieceSize = 64 << 10

// errStalled is a client that takes no bytes.
var errStalled = fmt.Errorf("%w: it takes no bytes", errClientGone)

// Guard is how a server cuts off such clients by itself, as Caddy's does unless
// write_idle has turned that off. It hands a body out in small pieces, each with a
// deadline, which costs more than the bytes themselves; so it is lifted while a
// blob is sent, and the stall that watches for as long as it would takes its place.
type Guard interface {
	// Lift makes it let writes of any length through, until restore, and returns
	// how long it lets a client take no byte. A nil restore means that it cannot be
	// lifted.
	Lift() (after time.Duration, restore func())
	// Limit makes the guard, while it is lifted, let pass no more than n bytes of
	// what w reads from at a time. It reports false if it does not stand behind w.
	Limit(w http.ResponseWriter, n int64) bool
	// SetWriteDeadline sets the deadline below the guard. It may be called beside
	// a write.
	SetWriteDeadline(deadline time.Time) error
}

// stall watches over one write at a time, and makes it fail if the client takes
// nothing. nil watches over nothing.
type stall struct {
	cutAt func(deadline time.Time) error
	after time.Duration

	mu       sync.Mutex
	timer    *time.Timer
	progress func() int64 // nil = none is seen before the end of the write
	last     int64
	quiet    int // checks in a row that saw no progress
	armed    bool
	cut      bool
}

// watch returns what watches over the writes of a request: nil where the server
// does.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) (*stall, Guard) {
	if guard := h.o.Guard(r); guard != nil {
		return nil, guard
	}
	return &stall{cutAt: http.NewResponseController(w).SetWriteDeadline, after: h.o.stallAfter}, nil
}

// lift lifts the server's guard for the body that follows, until the function that
// it returns is called.
func (x *response) lift() (restore func()) {
	guard := x.guard
	if guard == nil {
		return func() {}
	}
	after, restored := guard.Lift()
	if restored == nil {
		return func() {}
	}
	own := &stall{cutAt: guard.SetWriteDeadline, after: after}
	x.stall = own
	return func() {
		x.stall = nil
		restored()
		if own.cut {
			// Nor may what is left in buffers be waited for.
			_ = guard.SetWriteDeadline(past)
		}
	}
}

// past ends a write at once.
var past = time.Unix(1, 0)

// begin watches over the write that follows, until end.
func (s *stall) begin(progress func() int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed, s.progress, s.last, s.quiet = true, progress, 0, 0
	if s.timer == nil {
		s.timer = time.AfterFunc(s.after/stallChecks, s.check)
		return
	}
	s.timer.Reset(s.after / stallChecks)
}

func (s *stall) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		return
	}
	s.quiet++
	if s.progress != nil {
		if now := s.progress(); now != s.last {
			s.last, s.quiet = now, 0
		}
	}
	if s.quiet < stallChecks {
		s.timer.Reset(s.after / stallChecks)
		return
	}
	s.cut = true
	// A deadline that has passed ends the write. A writer that knows none would
	// be one of no server.
	_ = s.cutAt(past)
}

// end returns the error of the write, which is errStalled if it was cut.
func (s *stall) end(err error) error {
	if s == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	s.timer.Stop()
	if s.cut {
		return errors.Join(errStalled, err)
	}
	return err
}
