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

// pieceSize is how much of a body has to be taken within that time, where it is
// copied; what the kernel sends is watched byte by byte.
const pieceSize = 64 << 10

// errStalled is a client that takes no bytes.
var errStalled = fmt.Errorf("%w: it takes no bytes", errClientGone)

// IdleGuard is a ResponseWriter that cuts off such clients by itself. Caddy's is
// one, unless write_idle has turned it off; its deadlines are not to be meddled
// with from here. A ResponseWriter may also wrap one, and tell by Unwrap.
type IdleGuard interface {
	http.ResponseWriter
	Override(timeout time.Duration, minRate int64, maxChunk int) (restore func())
}

func isGuarded(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(IdleGuard); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// stall watches over one write at a time, and makes it fail if the client takes
// nothing. nil watches over nothing.
type stall struct {
	control *http.ResponseController
	after   time.Duration

	mu       sync.Mutex
	timer    *time.Timer
	progress func() int64 // nil = none is seen before the end of the write
	last     int64
	armed    bool
	cut      bool
}

func newStall(w http.ResponseWriter, after time.Duration) *stall {
	if isGuarded(w) {
		return nil
	}
	return &stall{control: http.NewResponseController(w), after: after}
}

// begin watches over the write that follows, until end.
func (s *stall) begin(progress func() int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed, s.progress, s.last = true, progress, 0
	if s.timer == nil {
		s.timer = time.AfterFunc(s.after, s.check)
		return
	}
	s.timer.Reset(s.after)
}

func (s *stall) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		return
	}
	if s.progress != nil {
		if now := s.progress(); now != s.last {
			s.last = now
			s.timer.Reset(s.after)
			return
		}
	}
	s.cut = true
	// A deadline that has passed ends the write. A writer that knows none would
	// be one of no server.
	_ = s.control.SetWriteDeadline(time.Unix(1, 0))
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
