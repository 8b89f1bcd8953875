package fill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// progressEvery is how often the progress of a fill is told.
const progressEvery = 100 * time.Millisecond

// Outcome is how a fill has ended, or how it is doing.
type Outcome struct {
	// Err is what its readers get; Cause is why the blob is not stored, which fails
	// no reader.
	Err, Cause error
	Size       int64 // -1 = it never became known
	Received   int64 // bytes that have come
	// Guessed says that the source told no size, and the hint had to do.
	Guessed bool
	// Resumed says that other bytes than the source's may be to blame: of an earlier fill,
	// such as after a power loss, or Shared; and Unread that the part is, which does not
	// give them back.
	Resumed, Unread bool
	// Shared is who has sent some of it in place of the source, so many bytes; empty = nobody.
	Shared      string
	SharedBytes int64
	// Refused says that an upstream has refused what no client had asked for yet.
	Refused bool
}

// Stored reports whether nothing is in the way of the blob's being stored: at the end,
// that it is.
func (o Outcome) Stored() bool { return o.Err == nil && o.Cause == nil }

// Outcome returns how the fill is doing.
func (f *Fill) Outcome() Outcome { return f.summary(f.outcome.now().err) }

func (f *Fill) summary(err error) Outcome {
	v := f.outcome.now()
	received, lent := f.workers.bytes()
	_, _, resumed := f.content.state()
	shared, _ := f.sender.shared.Load().(string)
	refused := false
	if err != nil && f.audience.isAhead() {
		refused, _ = refusal(err)
	}
	return Outcome{
		Err: err, Cause: v.cause, Size: v.size, Received: received, Guessed: v.guessed,
		Resumed: resumed || shared != "", Shared: shared, SharedBytes: lent, Unread: errors.Is(err, errUnread), Refused: refused,
	}
}

// Progress returns how many clients read, and how many bytes have come.
func (f *Fill) Progress() (readers int, received int64) {
	received, _ = f.workers.bytes()
	return f.audience.clients(), received
}

// settle ends the part, unless that was committed.
func (f *Fill) settle() {
	v := f.outcome.now()
	part, covered, _ := f.content.state()
	if part == nil || v.err == nil && v.cause == nil {
		return
	}
	var ended error
	switch class := oci.ClassOf(v.err); {
	case v.err == nil || class == oci.ClassDigest || class == oci.ClassLength || errors.Is(v.err, errUnread):
		if ended = part.Remove(); v.cause != nil {
			ended = nil // ended before
		}
	default:
		ended = part.Suspend(covered)
	}
	if ended != nil {
		f.Log.Warn("part not ended", "error", ended)
	}
}

// AwaitStored waits until the fill has ended, with its blob in the store, and returns
// its size. progress, unless nil, is told how many bytes are there, and how many there
// will be, -1 = unknown.
func (r *Reader) AwaitStored(ctx context.Context, progress func(covered, size int64)) (size int64, err error) {
	f := r.fill
	for ended := false; !ended; {
		select {
		case <-f.done:
			ended = true
		case <-f.After(progressEvery):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if progress != nil {
			_, covered, _ := f.content.state()
			progress(covered.Total(), f.outcome.size())
		}
	}
	switch v := f.outcome.now(); {
	case v.err != nil:
		return 0, v.err
	case v.cause != nil:
		return 0, fmt.Errorf("the storage does not take it: %w", v.cause)
	default:
		return v.size, nil
	}
}

// Ready waits until the fill can be read without a proper error being lost: its
// size is known, and if it is small, or if that is not the size which the reader
// or the fill was told (-1 = none), it is verified. Where that takes long, told is
// the size: who reads finds out whether it was right.
func (f *Fill) Ready(ctx context.Context, told int64) (size int64, err error) {
	patience := time.NewTimer(f.SizePatience)
	defer patience.Stop()
	for late := false; ; {
		seen := f.changes.seen()
		v := f.outcome.now()
		size, ready, err := v.ready(told)
		switch {
		case ready || err != nil:
			return size, err
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case late && !f.Doubted && f.outcome.give(told):
			return told, nil
		case late && v.size < 0 && v.hint > WholeSize && f.trustHint():
			continue
		}
		late = f.changes.wait(ctx, seen, patience.C) || late
	}
}

// Opened waits until the upstream has answered, or need not be asked.
func (f *Fill) Opened(ctx context.Context) error {
	for {
		seen := f.changes.seen()
		v := f.outcome.now()
		switch {
		case v.err != nil:
			return v.err
		case v.opened || ctx.Err() != nil:
			return ctx.Err()
		}
		f.changes.wait(ctx, seen, nil)
	}
}

// CertainSize returns the size that others than the readers may be told; -1 = it is not
// certain.
func (f *Fill) CertainSize() int64 {
	v := f.outcome.now()
	if v.err != nil || !v.opened || v.disputed && !v.verified {
		return -1
	}
	return v.size
}
