package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

var errDetached = errors.New("the fill stores no more")

// reader is one request's view of a fill: it has its own offset, and waits for
// bytes that are not there yet. It holds a reference.
type reader struct {
	ctx    context.Context
	fill   *fill
	off    int64
	direct *direct // once the fill is split and this reader is past it
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
	part, n, err := r.fill.await(r.ctx, r.off)
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
		n, err := r.fill.readAt(r.ctx, p, r.off)
		if !errors.Is(err, errDetached) {
			r.off += int64(n)
			return n, err
		}
		if r.direct, err = newDirect(r.ctx, r.fill, r.off); err != nil {
			return 0, err
		}
	}
	n, err := r.direct.Read(p)
	r.off += int64(n)
	return n, err
}

// Seek implements io.Seeker. It asks for nothing: only a Read does.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.fill.size
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
	r.fill.release()
	return err
}

// readAt reads what is there at off, and waits until there is something. It is
// io.EOF at the end of a verified blob, and errDetached where the reader has to
// go on by itself.
func (f *fill) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	part, n, err := f.await(ctx, off)
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

// await waits until bytes at off may be released, and returns how many.
func (f *fill) await(ctx context.Context, off int64) (part, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var again time.Duration
		switch {
		case f.err != nil:
			return nil, 0, f.err
		case ctx.Err() != nil:
			return nil, 0, ctx.Err()
		case f.verified && off >= f.size:
			return nil, 0, io.EOF
		case f.verified:
			return f.part, f.size - off, nil
		}
		end := f.covered.end(off)
		if f.size >= 0 {
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
			again = f.want(off) // the held-back end comes last, whoever waits for it
		}
		f.wait(ctx, again)
	}
}

// wait waits for the next change, for ctx, and no longer than again unless that
// is 0. f.mu is held before and after, not meanwhile.
func (f *fill) wait(ctx context.Context, again time.Duration) {
	change := f.waiting()
	f.mu.Unlock()
	defer f.mu.Lock()
	var timer <-chan time.Time
	if again > 0 {
		timer = f.c.after(again)
	}
	select {
	case <-change:
	case <-timer:
	case <-ctx.Done():
	}
}

// ready waits until the fill can be read without a proper error being lost: its
// size is known, and if it is small, or if that is not the size which the reader
// or the fill was told (-1 = none), it is verified.
func (f *fill) ready(ctx context.Context, told int64) (size int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		certain := !f.learned && !f.disputed && (told < 0 || told == f.size)
		switch {
		case f.err != nil:
			return 0, f.err
		case f.verified, f.opened && certain && (f.size > wholeSize || f.split != nil):
			return f.size, nil
		case f.split != nil:
			return 0, f.unstorable(f.cause)
		case ctx.Err() != nil:
			return 0, ctx.Err()
		}
		f.wait(ctx, 0)
	}
}
