package mirror

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

var errDetached = errors.New("the fill stores no more")

// reader is one request's view of a fill: it has its own offset, and waits for
// bytes that are not there yet. It holds a reference.
type reader struct {
	ctx    context.Context
	fill   *fill
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
	from   part
	closed bool
}

// Next implements oci.Spool.
func (r *reader) Next() (*os.File, int64, error) {
	switch {
	case r.closed:
		return nil, 0, fs.ErrClosed
	case r.direct != nil:
		return nil, 0, nil
	}
	part, n, err := r.fill.await(r.ctx, r.off, r.size)
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
		return nil, 0, fmt.Errorf("read blob %s at %d: %w", r.fill.digest, r.off, err)
	}
	return r.file, n, nil
}

func (r *reader) closeFile() {
	if r.file != nil {
		_ = r.file.Close() // nothing was written to it
	}
}

// Read implements io.Reader. See oci.Blob for what its io.EOF means.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, fs.ErrClosed
	case len(p) == 0:
		return 0, nil
	}
	if r.direct == nil {
		n, err := r.fill.readAt(r.ctx, p, r.off, r.size)
		if !errors.Is(err, errDetached) {
			r.off += int64(n)
			return n, err
		}
		if r.partial || r.passed || r.off != r.fill.split.at {
			return 0, fmt.Errorf("read blob %s at %d: %w", r.fill.digest, r.off, oci.ErrPasses)
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
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.size
	default:
		return r.off, fmt.Errorf("seek blob %s: whence %d: %w", r.fill.digest, whence, fs.ErrInvalid)
	}
	if offset < 0 {
		return r.off, fmt.Errorf("seek blob %s to %d: %w", r.fill.digest, offset, fs.ErrInvalid)
	}
	if offset != r.off && r.direct != nil {
		_ = r.direct.close() // its bytes so far were read; what is left is not needed
		r.direct = nil
	}
	r.off = offset
	return offset, nil
}

// Close implements io.Closer. Nothing is cancelled by it.
func (r *reader) Close() error {
	if r.closed {
		return fs.ErrClosed
	}
	r.closed = true
	r.closeFile()
	var err error
	if r.direct != nil {
		err = r.direct.close()
	}
	r.fill.leave()
	return err
}

// readAt reads what is there at off, and waits until there is something. It is
// io.EOF at the end of a verified blob, and errDetached where the reader has to
// go on by itself.
func (f *fill) readAt(ctx context.Context, p []byte, off, told int64) (int, error) {
	part, n, err := f.await(ctx, off, told)
	if err != nil {
		return 0, err
	}
	got, err := part.ReadAt(p[:min(int64(len(p)), n)], off)
	switch {
	case got > 0:
		return got, nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // an io.EOF would say that the blob is complete
	}
	return 0, fmt.Errorf("read blob %s at %d: %w", f.digest, off, err)
}

// await waits until bytes at off may be released, and returns how many. Nothing is
// released to who was told another size than the blob's.
func (f *fill) await(ctx context.Context, off, told int64) (part, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var again time.Duration
		switch {
		case f.err != nil:
			return nil, 0, f.err
		case ctx.Err() != nil:
			return nil, 0, ctx.Err()
		case f.opened && f.size >= 0 && f.size != told:
			return nil, 0, errSize(told, f.size)
		case f.verified && off >= f.size:
			return nil, 0, io.EOF
		case f.verified:
			return f.part, f.size - off, nil
		}
		end := f.covered.end(off)
		if f.size >= 0 && !f.disputed {
			end = min(end, f.size-held(f.size))
		} else {
			end = off // nothing is released of what nobody knows the end of
		}
		if f.split != nil && off <= f.split.at {
			end = min(end, f.split.at) // where the hash goes on
		}
		switch {
		case end > off:
			return f.part, end - off, nil
		case f.split != nil && off < f.size:
			return nil, 0, errDetached
		case f.split != nil:
			return nil, 0, io.ErrUnexpectedEOF
		case f.covered.end(off) == off && off < f.size-held(f.size):
			f.seekers.add(off)
			again = f.want(off) // the held-back end comes last, whoever waits for it
			var timer <-chan time.Time
			if again > 0 {
				timer = f.c.after(again)
			}
			f.wait(ctx, timer)
			f.seekers.remove(off)
			continue
		}
		f.wait(ctx, nil)
	}
}

// errSize is for a reader that was told a size that turns out to be another.
func errSize(told, size int64) error {
	return oci.UpstreamError(oci.ClassLength, "", "the blob's size is not what was told",
		fmt.Errorf("%d bytes were told, not %d", told, size))
}

// wait waits for the next change, for ctx, and for the timer unless that is nil. f.mu
// is held before and after, not meanwhile.
func (f *fill) wait(ctx context.Context, timer <-chan time.Time) (fired bool) {
	change := f.waiting()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-change:
	case <-timer:
		return true
	case <-ctx.Done():
	}
	return false
}
