package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// Reader is one request's view of a fill: it has its own offset, and waits for
// bytes that are not there yet. It holds a reference.
type Reader struct {
	ctx    context.Context
	fill   *Fill
	off    int64
	size   int64   // that the client was told
	direct *direct // once the fill is split and this reader is past it
	strict bool    // ranges end only when the blob was verified
	start  int64   // of the answer
	// partial says that the answer ends before the end that is held back, or may.
	partial bool
	// passed says that there has been a direct.
	passed bool
	// file is from opened another time, for Next; nil = not, or it cannot be.
	file   *os.File
	from   Part
	closed bool
}

// Reader returns a reader for a client that was told the size. It takes over the
// client's reference. strict has ranges end only when the blob was verified.
func (f *Fill) Reader(ctx context.Context, size int64, strict bool) *Reader {
	return &Reader{ctx: ctx, fill: f, size: size, strict: strict}
}

// Next implements oci.Spool.
func (r *Reader) Next() (*os.File, int64, error) {
	switch {
	case r.closed:
		return nil, 0, fs.ErrClosed
	case r.direct != nil:
		return nil, 0, nil
	}
	part, n, err := r.await()
	switch {
	case errors.Is(err, errDetached):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case r.from != part:
		r.closeFile()
		r.from = part
		if r.file, err = part.Reopen(); err != nil {
			r.file = nil // it is read through the fill, then
		}
	}
	if r.file == nil {
		return nil, 0, nil
	}
	if _, err := r.file.Seek(r.off, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("read blob %s at %d: %w", r.fill.Digest, r.off, err)
	}
	return r.file, n, nil
}

func (r *Reader) closeFile() {
	if r.file != nil {
		_ = r.file.Close() // nothing was written to it
	}
}

// Read implements io.Reader. See oci.Blob for what its io.EOF means.
func (r *Reader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, fs.ErrClosed
	case len(p) == 0:
		return 0, nil
	}
	if r.direct == nil {
		n, err := r.readAt(p)
		if !errors.Is(err, errDetached) {
			r.off += int64(n)
			return n, err
		}
		if r.partial || r.passed || r.off != r.fill.outcome.now().split.at {
			return 0, fmt.Errorf("read blob %s at %d: %w", r.fill.Digest, r.off, oci.ErrPasses)
		}
		if r.direct, err = newDirect(r.ctx, r.fill); err != nil {
			return 0, err
		}
		r.passed = true
	}
	n, err := r.direct.Read(p)
	r.off += int64(n)
	return n, err
}

// Seek implements io.Seeker. It asks for nothing: only a Read does. Who has come past
// what is stored, and jumps, does not get there again.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	offset, err := oci.SeekTo(r.off, r.size, offset, whence)
	if err != nil {
		return r.off, fmt.Errorf("seek blob %s: %w", r.fill.Digest, err)
	}
	if offset != r.off && r.direct != nil {
		_ = r.direct.close() // its bytes so far were read; what is left is not needed
		r.direct = nil
	}
	r.off = offset
	return offset, nil
}

// Close implements io.Closer. Nothing is cancelled by it.
func (r *Reader) Close() error {
	if r.closed {
		return fs.ErrClosed
	}
	r.closed = true
	r.closeFile()
	var err error
	if r.direct != nil {
		err = r.direct.close()
	}
	r.fill.Leave()
	return err
}

// readAt reads what is there, and waits until there is something. It is
// io.EOF at the end of a verified blob, and errDetached where the reader has to
// go on by itself.
func (r *Reader) readAt(p []byte) (int, error) {
	part, n, err := r.await()
	if err != nil {
		return 0, err
	}
	got, err := part.ReadAt(p[:min(int64(len(p)), n)], r.off)
	switch {
	case got > 0:
		return got, nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // an io.EOF would say that the blob is complete
	}
	return 0, fmt.Errorf("read blob %s at %d: %w", r.fill.Digest, r.off, err)
}

// await waits until bytes may be released, and returns how many.
func (r *Reader) await() (Part, int64, error) {
	f, off := r.fill, r.off
	for {
		seen := f.changes.seen()
		v := f.outcome.now()
		limit, past, err := v.releasable(off, r.size)
		switch {
		case err != nil:
			return nil, 0, err
		case r.ctx.Err() != nil:
			return nil, 0, r.ctx.Err()
		}
		// This comes after the verdict: what is verified is in the part that is last.
		part, there := f.content.at(off)
		switch end := min(there, limit); {
		case end > off:
			return part, end - off, nil
		case past != nil:
			return nil, 0, past
		case there == off && off < v.size-held(v.size): // the held-back end comes last, whoever waits for it
			r.seek(seen)
		default:
			f.changes.wait(r.ctx, seen, nil)
		}
	}
}

// seek has somebody work towards what is not there, and waits for a change, or until it
// is time to look again.
func (r *Reader) seek(seen uint64) {
	f := r.fill
	f.content.seek(r.off)
	defer f.content.unseek(r.off)
	var timer <-chan time.Time
	if again := f.workers.reach(r.off); again > 0 {
		timer = f.After(again)
	}
	f.changes.wait(r.ctx, seen, timer)
}

// Select implements oci.Filling.
func (r *Reader) Select(offset, end int64) error {
	_, err := r.Seek(offset, io.SeekStart)
	r.start, r.partial = offset, end <= r.size-held(r.size)
	return err
}

// Trust implements oci.Filling. What reaches into the end that is held back ends
// as the whole does. That of a fill which stores no more is verified by a hash that
// has got what is stored, so it cannot begin after that.
func (r *Reader) Trust() oci.Trust {
	v := r.fill.outcome.now()
	switch {
	case v.verified, r.size <= WholeSize:
		return oci.TrustVerified
	case v.split != nil && (r.partial || r.start > v.split.at):
		return oci.TrustWhole
	case !r.partial:
		return oci.TrustVerified
	case r.strict:
		return oci.TrustHeld
	}
	return oci.TrustNone
}

// AwaitVerified implements oci.Filling.
func (r *Reader) AwaitVerified() error {
	for {
		seen := r.fill.changes.seen()
		v := r.fill.outcome.now()
		if verified, err := v.verification(r.size); verified || err != nil {
			return err
		}
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		r.fill.changes.wait(r.ctx, seen, nil)
	}
}
