package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Blobs are the finished blobs of a store, and the parts that become such: files, always
// of this machine. Its methods are safe for concurrent use, and return ErrClosed after
// the store's Close.
type Blobs struct {
	root   volume.Files
	life   *life.Life
	log    *slog.Logger
	now    func() time.Time
	table  index.BlobTable
	judge  *integrity.Judge
	opened *opened
	uses   *eviction.Uses
	limits *eviction.Budget
	parts  *parts
}

// OpenBlob opens a finished blob at its beginning, and returns its size. The
// caller closes the file, which stays readable if the blob is removed or the
// store closed. It counts as a use, and while the file is open, the blob is not
// evicted. fs.ErrNotExist if there is no such blob, or only a file of the wrong
// size.
func (b *Blobs) OpenBlob(ctx context.Context, d digest.Digest) (*File, int64, error) {
	if err := b.life.Enter(ctx); err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	b.opened.add(i)
	f, size, err := b.open(ctx, i)
	if err != nil {
		b.opened.done(i)
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	return &File{File: f.Bare(), opened: b.opened, id: i}, size, nil
}

func (b *Blobs) open(ctx context.Context, i volume.ID) (volume.File, int64, error) {
	f, info, err := b.sound(ctx, i)
	if err != nil {
		return nil, 0, err
	}
	b.touch(i)
	return f, info.Size(), nil
}

// touch counts a use.
func (b *Blobs) touch(i volume.ID) {
	if b.uses.Touch(i, index.HourOf(b.now())) >= eviction.MaxUses {
		b.limits.Soon()
	}
}

// sound opens a blob that is not in doubt, or not any more.
func (b *Blobs) sound(ctx context.Context, i volume.ID) (volume.File, fs.FileInfo, error) {
	f, info, doubt, err := b.sized(i)
	if err != nil || !doubt {
		return f, info, err
	}
	if err := b.judge.Verify(ctx, i, f, info); err != nil {
		return nil, nil, err
	}
	return f, info, nil
}

// sized opens a blob that has the size which the index knows, and tells whether it
// is in doubt.
func (b *Blobs) sized(i volume.ID) (volume.File, fs.FileInfo, bool, error) {
	for {
		settled := b.judge.Suspects.None()
		f, info, err := b.file(i)
		if err != nil {
			return nil, nil, false, err
		}
		doubt, err := b.judge.Sized(i, info)
		moved := false
		if err == nil && !doubt && !settled {
			// The doubt may have ended between the open and the question, with the opened
			// file taken out of use.
			moved, err = b.judge.Moved(i, info)
		}
		if err == nil && !moved {
			return f, info, doubt, nil
		}
		if f.Close(); err != nil {
			return nil, nil, false, err
		}
	}
}

// file opens the file of a blob. Where there is none, its record goes. One that
// cannot be opened is absent, too: it is filled anew, and replaced.
func (b *Blobs) file(i volume.ID) (volume.File, fs.FileInfo, error) {
	f, err := b.root.Open(i.BlobPath())
	if err != nil {
		return nil, nil, b.missing(i, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = irregular(i)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func irregular(i volume.ID) error {
	return fmt.Errorf("%s is no regular file: %w", i.BlobPath(), fs.ErrNotExist)
}

// StatBlob returns the size of a finished blob, or fs.ErrNotExist. It vouches for
// the blob as OpenBlob does, and so takes as long where one has to be verified
// first: one hash of it. It does not count as a use.
func (b *Blobs) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	if err := b.life.Enter(ctx); err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return 0, fmt.Errorf("stat blob: %w", err)
	}
	f, info, err := b.sound(ctx, i)
	if err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	f.Close()
	return info.Size(), nil
}

// HasBlob reports that there is a finished blob that can be opened, and whether
// OpenBlob would trust it as it is, or verify it first, which VerifyBlob does. It reads
// no content, and does not count as a use. fs.ErrNotExist if there is no such blob.
func (b *Blobs) HasBlob(ctx context.Context, d digest.Digest) (trusted bool, err error) {
	if err := b.life.Enter(ctx); err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return false, fmt.Errorf("look up blob: %w", err)
	}
	f, info, err := b.file(i)
	if err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	f.Close()
	size, known := b.table.Size(i)
	return !b.judge.Suspects.Doubt(i, info, known) && (!known || size == info.Size()), nil
}

// missing drops the record of a blob that has no file, and returns why there is none
// to be opened.
func (b *Blobs) missing(i volume.ID, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, known := b.table.Blob(i); known {
			b.judge.Missing(i)
		}
	case !integrity.Exhausted(err) && !errors.Is(err, fs.ErrClosed):
		// The record stays: the file takes its space.
		b.log.Warn("blob cannot be opened, and counts as absent", "digest", i.Digest(), "error", err)
		err = absent{err}
	}
	return err
}

// absent is an fs.ErrNotExist that says why a file is none that can be used.
type absent struct{ error }

func (absent) Is(target error) bool { return target == fs.ErrNotExist }
func (a absent) Unwrap() error      { return a.error }

// VerifyBlob hashes the file of a blob as it is now. It returns nil if it has the
// digest; what the index says of its size is corrected. fs.ErrNotExist means that
// there is no such blob any more: no file, or one that did not match, which is in
// quarantine now. Any other error means that it could not be found out: ErrClosed
// if the store was closed meanwhile. Calls for one digest share one pass with
// each other and with whoever opens the blob. It takes as long as reading the
// blob does, and does not count as a use.
func (b *Blobs) VerifyBlob(ctx context.Context, d digest.Digest) error {
	if err := b.life.Enter(ctx); err != nil {
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	f, info, err := b.file(i)
	if err == nil {
		err = b.judge.Verify(ctx, i, f, info)
	}
	if err != nil {
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	f.Close()
	return nil
}

// VerifyBlobAt is VerifyBlob for callers that verify many blobs: it keeps to a pace (nil =
// none), tells after each piece how many bytes it has read (unless read is nil), and
// ends with ctx. Nobody who opens the blob waits for it.
func (b *Blobs) VerifyBlobAt(ctx context.Context, d digest.Digest, p *Pace, read func(bytes int64)) error {
	i, err := volume.IDOf(d)
	if err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	matches := false
	err = b.life.Task(ctx, func(ctx context.Context) error {
		f, info, err := b.file(i)
		if err != nil {
			return err
		}
		defer f.Close()
		matches, err = b.judge.Matches(ctx, i, f, info, p, read)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("verify blob %s: %w", d, err)
	case matches:
		return nil
	}
	return b.VerifyBlob(ctx, d) // which decides
}
