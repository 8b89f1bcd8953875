package registrytest

import (
	"maps"
	"net/http"
	"strconv"
	"time"
)

// Spoil is what is wrong with an answer that is otherwise the normal one. The
// zero value spoils nothing.
type Spoil struct {
	// Header is called with the header of the answer before it is sent.
	Header func(http.Header)
	// Status replaces that of the answer.
	Status int
	// IgnoreRange answers as if no range had been asked for.
	IgnoreRange bool
	// Chunked leaves out the Content-Length.
	Chunked bool
	// Flip inverts one bit of every FlipEvery-th byte of the body, beginning at
	// that one; 0 = none.
	FlipEvery int64
	// Extra is sent after the body; it takes Chunked, or a header that makes room.
	Extra []byte
	// After is how many bytes of the body are sent before one of these happens:
	After int64
	// Cut cuts the connection.
	Cut bool
	// End ends the body as if that were all; with a Content-Length it is a cut.
	End bool
	// Stall, if not nil, waits until it is closed or the client has left.
	Stall <-chan struct{}
	// Pace waits so long before every Piece bytes (all of one write if 0).
	Pace  time.Duration
	Piece int
}

// Hook returns the fault for Server.Hook and Rule.
func (s Spoil) Hook() Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if s.IgnoreRange {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
		}
		spoiled := &spoiledWriter{ResponseWriter: w, spoil: s, gone: r.Context().Done()}
		next(spoiled, r)
		if len(s.Extra) > 0 && r.Method != http.MethodHead {
			_, _ = w.Write(s.Extra)
		}
	}
}

type spoiledWriter struct {
	http.ResponseWriter

	spoil Spoil
	// onlyGood calls Header for good answers alone.
	onlyGood bool
	gone     <-chan struct{}
	sent     int64
	written  bool
}

func (w *spoiledWriter) WriteHeader(status int) {
	w.written = true
	if w.spoil.Status != 0 {
		status = w.spoil.Status
	}
	if w.spoil.Header != nil && (!w.onlyGood || status < http.StatusMultipleChoices) {
		w.spoil.Header(w.Header())
	}
	if w.spoil.Chunked {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
	if w.spoil.Chunked {
		w.flush()
	}
}

func (w *spoiledWriter) Write(p []byte) (int, error) {
	if !w.written {
		w.WriteHeader(http.StatusOK)
	}
	for rest := p; len(rest) > 0; {
		piece := rest
		if w.spoil.Piece > 0 && len(piece) > w.spoil.Piece {
			piece = piece[:w.spoil.Piece]
		}
		if w.ends() {
			left := w.spoil.After - w.sent
			if left <= 0 {
				if w.end() {
					return len(p), nil
				}
			} else if int64(len(piece)) > left {
				piece = piece[:left]
			}
		}
		if w.spoil.Pace > 0 {
			w.flush()
			select {
			case <-time.After(w.spoil.Pace):
			case <-w.gone:
				return 0, http.ErrAbortHandler
			}
		}
		if _, err := w.ResponseWriter.Write(w.flipped(piece)); err != nil {
			return 0, err
		}
		w.sent += int64(len(piece))
		rest = rest[len(piece):]
	}
	if w.ends() && w.sent >= w.spoil.After {
		w.end()
	}
	return len(p), nil
}

func (w *spoiledWriter) ends() bool { return w.spoil.Cut || w.spoil.End || w.spoil.Stall != nil }

// end does what is to happen after so many bytes, and reports whether the rest
// of the body is left out.
func (w *spoiledWriter) end() bool {
	w.flush()
	if stall := w.spoil.Stall; stall != nil {
		w.spoil.Stall = nil
		select {
		case <-stall:
		case <-w.gone:
			panic(http.ErrAbortHandler)
		}
	}
	if w.spoil.Cut {
		panic(http.ErrAbortHandler)
	}
	return w.spoil.End
}

func (w *spoiledWriter) flipped(p []byte) []byte {
	every := w.spoil.FlipEvery
	if every == 0 {
		return p
	}
	flipped := append([]byte(nil), p...)
	for i := range flipped {
		if (w.sent+int64(i)+1)%every == 0 {
			flipped[i] ^= 1
		}
	}
	return flipped
}

func (w *spoiledWriter) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap serves http.ResponseController.
func (w *spoiledWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Answer is a whole answer in place of the normal one.
func Answer(status int, header http.Header, body string) Hook {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		maps.Copy(w.Header(), header)
		if w.Header().Get("Content-Length") == "" && status != http.StatusNoContent {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(body))
		}
	}
}

// Abort cuts the connection without an answer; on HTTP/2 it resets the stream.
func Abort(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }

// Hang answers as usual, but not before release is closed; nor at all if the
// client leaves.
func Hang(release <-chan struct{}) Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		select {
		case <-release:
			next(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}
