package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// linesEvery is how often progress is told at most.
	linesEvery = 250 * time.Millisecond
	// linesStall is how long a client may take to read a line before it is given
	// up.
	linesStall = 30 * time.Second
	// bundleStall is how long the other side of a bundle may do nothing: it may be a
	// tape, or ask somebody for a password.
	bundleStall = 10 * time.Minute
)

// line is one line of an answer.
type line interface {
	// IsProgress reports whether others say more than this line: where many come,
	// most are left out.
	IsProgress() bool
}

// lines is the answer to a long operation: JSON lines of progress and, in the end,
// results. Its methods are safe for concurrent use, until end.
type lines[L line] struct {
	// ctx ends when the client leaves, or stops reading.
	ctx     context.Context
	cancel  context.CancelFunc
	control *http.ResponseController

	mu       sync.Mutex
	header   http.Header
	encoder  *json.Encoder
	progress time.Time // when some last was told
}

// newLines returns an answer that begins with its first line. Who makes it also ends
// it.
func newLines[L line](w http.ResponseWriter, r *http.Request) *lines[L] {
	ctx, cancel := context.WithCancel(r.Context()) //nolint:gosec // end calls it
	return &lines[L]{
		ctx: ctx, cancel: cancel, control: http.NewResponseController(w), header: w.Header(), encoder: json.NewEncoder(w),
	}
}

// end ends the answer. The connection may be used again.
func (l *lines[L]) end() {
	l.cancel()
	_ = l.control.SetWriteDeadline(time.Time{})
}

// tell writes a line, unless it is too early for more progress.
func (l *lines[L]) tell(line L) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line.IsProgress() {
		now := time.Now()
		if now.Sub(l.progress) < linesEvery {
			return
		}
		l.progress = now
	}
	l.header.Set("Content-Type", "application/x-ndjson")
	_ = l.control.SetWriteDeadline(time.Now().Add(linesStall))
	if err := errors.Join(l.encoder.Encode(line), l.control.Flush()); err != nil {
		l.cancel()
	}
}

// patient gives who reads its time.
type patient struct {
	w       io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(bundleStall))
	return p.w.Write(b)
}

// steady reads from who may pause, but not for ever.
type steady struct {
	r       io.Reader
	control *http.ResponseController
}

// Read implements io.Reader.
func (s *steady) Read(b []byte) (int, error) {
	_ = s.control.SetReadDeadline(time.Now().Add(bundleStall))
	return s.r.Read(b)
}
