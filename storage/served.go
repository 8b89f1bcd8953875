package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// servedWhole is up to where a blob in doubt is verified before its first byte.
	servedWhole = 1 << 20
	// servedTail is how much of the end of a larger one waits for that.
	servedTail = 64 << 10
)

// Served is the content of a finished blob. File is the bare file below it, at the same
// position, for the kernel to send; it is nil while the blob is in doubt.
type Served struct {
	io.ReadSeekCloser

	File *os.File
}

// ServeBlob is OpenBlob for a caller that passes the bytes on: nobody waits until a large blob
// that is in doubt was verified. It is read while that is done. What is read from the
// start comes at once, except the last 64 KiB, which come with io.EOF once it has the
// digest; what is read from elsewhere waits for that, too. Of a blob that turns out to
// be damaged, the rest is an error, and it is in quarantine. ctx bounds that waiting.
func (b *Blobs) ServeBlob(ctx context.Context, d digest.Digest) (Served, int64, error) {
	if err := b.life.Enter(ctx); err != nil {
		return Served{}, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return Served{}, 0, fmt.Errorf("open blob: %w", err)
	}
	b.opened.add(i)
	f, info, doubt, err := b.sized(i)
	large := err == nil && info.Size() > servedWhole
	if err == nil && doubt && !large {
		err = b.judge.Verify(ctx, i, f, info)
	}
	if err != nil {
		b.opened.done(i)
		return Served{}, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	b.touch(i)
	file := &File{File: f.Bare(), opened: b.opened, id: i}
	if doubt && large {
		return Served{ReadSeekCloser: b.doubted(ctx, file, info)}, info.Size(), nil
	}
	return Served{file, file.File}, info.Size(), nil
}

// BlobSize returns the size of a finished blob, or fs.ErrNotExist. Unlike StatBlob, it
// does not wait until a large blob that is in doubt was verified.
func (b *Blobs) BlobSize(ctx context.Context, d digest.Digest) (int64, error) {
	if i, err := volume.IDOf(d); err == nil && b.life.Enter(ctx) == nil {
		f, info, doubt, err := b.sized(i)
		if b.life.Leave(); err == nil {
			f.Close()
		}
		if err == nil && (!doubt || info.Size() > servedWhole) {
			return info.Size(), nil
		}
	}
	return b.StatBlob(ctx, d)
}

// doubted begins to verify a blob that is in doubt, and returns a reader of it.
func (b *Blobs) doubted(ctx context.Context, f *File, info fs.FileInfo) *doubted {
	r := &doubted{file: f, ctx: ctx, size: info.Size(), decided: make(chan struct{})}
	go func() {
		defer close(r.decided)
		r.err = b.life.Guard("verify blob", func() error {
			return b.judge.Decide(f.id, f, info, func() error { return b.VerifyBlob(context.Background(), f.id.Digest()) })
		})
	}()
	return r
}

// doubted is a blob that is read while it is verified.
type doubted struct {
	file    *File
	ctx     context.Context
	size    int64
	off     int64
	aside   bool          // it is not read from the start
	decided chan struct{} // closed once err says whether it has the digest
	err     error
}

// Read implements io.Reader.
func (b *doubted) Read(p []byte) (int, error) {
	end := b.size - servedTail
	if b.aside || b.off >= end {
		if err := b.AwaitVerified(); err != nil {
			return 0, fmt.Errorf("read blob %s at %d: %w", b.file.id.Digest(), b.off, err)
		}
	}
	select {
	case <-b.decided:
		if b.err != nil {
			// An io.EOF would say that the blob is complete.
			return 0, fmt.Errorf("read blob %s at %d: %w", b.file.id.Digest(), b.off, b.err)
		}
		end = b.size
	default:
	}
	if len(p) == 0 || b.off >= b.size {
		return 0, io.EOF
	}
	n, err := b.file.ReadAt(p[:min(int64(len(p)), end-b.off)], b.off)
	if b.off += int64(n); n > 0 {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("read blob %s at %d: %w", b.file.id.Digest(), b.off, err)
}

// Select implements oci.Filling. What ends before the end that waits has to wait as
// a whole.
func (b *doubted) Select(offset, end int64) error {
	b.aside = b.aside || end <= b.size-servedTail
	_, err := b.Seek(offset, io.SeekStart)
	return err
}

// Trust implements oci.Filling.
func (b *doubted) Trust() oci.Trust { return oci.TrustVerified }

// AwaitVerified implements oci.Filling.
func (b *doubted) AwaitVerified() error {
	select {
	case <-b.decided:
		return b.err
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// Close implements io.Closer. It goes on being verified.
func (b *doubted) Close() error { return b.file.Close() }

// Seek implements io.Seeker.
func (b *doubted) Seek(offset int64, whence int) (int64, error) {
	offset, err := oci.SeekTo(b.off, b.size, offset, whence)
	if err != nil {
		return b.off, fmt.Errorf("seek blob %s: %w", b.file.id.Digest(), err)
	}
	b.aside = b.aside || offset != b.off
	b.off = offset
	return offset, nil
}
