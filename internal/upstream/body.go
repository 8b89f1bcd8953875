package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// What a body has to bring on average whenever it has been waited for so long: a
// byte now and then keeps the idle clock happy, and a download alive for ever. How it
// began does not count.
const (
	trickleAfter = 5 * time.Minute
	trickleRate  = 1 << 10 // bytes per second
)

// body is the body of a blob. It is for one reader; anybody may close it.
type body struct {
	c      *Client
	inner  io.ReadCloser
	ctx    context.Context // of the request; ends the reads
	cancel context.CancelCauseFunc
	op     operation
	host   string
	status int

	left int64 // announced and not read yet; -1 = nothing was announced
	err  error
	// received and waited are those since it was last found to be fast enough.
	received int64
	waited   time.Duration
}

// Read waits for bytes, but not longer than Timeouts.Idle. Time that the reader
// spends elsewhere does not count.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	watchdog := time.AfterFunc(b.c.o.Timeouts.Idle, func() { b.cancel(wire.ErrIdle) })
	began := time.Now()
	n, err := b.inner.Read(p)
	b.waited += time.Since(began)
	watchdog.Stop()
	b.received += int64(n)
	b.err = b.check(n, err)
	if b.err != nil && !errors.Is(b.err, io.EOF) && oci.ClassOf(b.err) != oci.ClassCanceled {
		// The connection itself goes with its context. Those beside it have been
		// silent for as long, and the rest of the blob is asked for in a moment.
		b.cancel(b.err)
		b.c.network.Transports.CloseIdle()
	}
	if b.left >= 0 {
		b.left -= int64(n)
		if b.left < 0 {
			return 0, b.err
		}
	}
	return n, b.err
}

// check returns how the body ends after a read of n bytes, nil if it goes on.
func (b *body) check(n int, err error) error {
	switch {
	case b.left >= 0 && int64(n) > b.left:
		return b.fail(&wire.Failure{Class: oci.ClassLength, Text: b.host + " sent more bytes than it announced"})
	case err == nil:
		if b.waited <= trickleAfter {
			return nil
		}
		if b.received < int64(b.waited/time.Second)*trickleRate {
			b.cancel(wire.ErrIdle)
			return b.fail(&wire.Failure{Class: oci.ClassTimeout, Text: b.host + " sends next to nothing"})
		}
		b.received, b.waited = 0, 0
		return nil
	case errors.Is(err, io.EOF):
		if b.left > int64(n) {
			return b.cut(nil)
		}
		return io.EOF
	case context.Cause(b.ctx) != nil:
		return b.fail(wire.AsFailure(b.ctx, b.host, err))
	}
	return b.cut(wire.SafeCause(err))
}

func (b *body) fail(f *wire.Failure) error {
	f.Status = b.status
	return b.op.errorOf(f)
}

func (b *body) cut(cause error) error {
	text := b.host + " cut the body"
	if cause == nil || errors.Is(cause, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", text, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: %w (%w)", text, io.ErrUnexpectedEOF, cause)
}

// Close ends the download, finished or not, and a Read that waits for bytes.
func (b *body) Close() error {
	err := b.inner.Close()
	b.cancel(nil)
	return err
}
