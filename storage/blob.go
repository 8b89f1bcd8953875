package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// OpenBlob opens a finished blob at its beginning, and returns its size. The
// caller closes the file, which stays readable if the blob is removed or the
// store closed. It counts as a use, and while the file is open, the blob is not
// evicted. fs.ErrNotExist if there is no such blob, or only a file of the wrong
// size.
func (s *Store) OpenBlob(ctx context.Context, d digest.Digest) (*File, int64, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	defer s.leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	s.opened.add(i)
	f, size, err := s.openBlob(ctx, i)
	if err != nil {
		s.opened.done(i)
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	return &File{File: f.Bare(), opened: &s.opened, id: i}, size, nil
}

func (s *Store) openBlob(ctx context.Context, i volume.ID) (volume.File, int64, error) {
	f, info, err := s.soundBlob(ctx, i)
	if err != nil {
		return nil, 0, err
	}
	s.touch(i)
	return f, info.Size(), nil
}

// touch counts a use.
func (s *Store) touch(i volume.ID) {
	if s.uses.touch(i, index.HourOf(s.now())) >= maxUses {
		s.keepHouseNow()
	}
}

// soundBlob opens a blob that is not in doubt, or not any more.
func (s *Store) soundBlob(ctx context.Context, i volume.ID) (volume.File, fs.FileInfo, error) {
	f, info, doubt, err := s.sizedBlob(i)
	if err != nil || !doubt {
		return f, info, err
	}
	if err := s.verify(ctx, i, f, info); err != nil {
		return nil, nil, err
	}
	return f, info, nil
}

// sizedBlob opens a blob that has the size which the index knows, and tells whether it
// is in doubt.
func (s *Store) sizedBlob(i volume.ID) (_ volume.File, _ fs.FileInfo, doubt bool, err error) {
	f, info, err := s.blobFile(i)
	if err != nil {
		return nil, nil, false, err
	}
	r, known := s.index.Blob(i)
	if known && r.Size != info.Size() {
		s.quarantine(i, info, fmt.Errorf("it has %d bytes, %d were recorded", info.Size(), r.Size))
		f.Close()
		return nil, nil, false, fs.ErrNotExist
	}
	return f, info, s.suspects.doubt(i, info, known), nil
}

// blobFile opens the file of a blob. Where there is none, its record goes. One that
// cannot be opened is absent, too: it is filled anew, and replaced.
func (s *Store) blobFile(i volume.ID) (volume.File, fs.FileInfo, error) {
	f, err := s.root.Open(i.BlobPath())
	if err != nil {
		return nil, nil, s.missing(i, err)
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
func (s *Store) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	defer s.leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return 0, fmt.Errorf("stat blob: %w", err)
	}
	f, info, err := s.soundBlob(ctx, i)
	if err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	f.Close()
	return info.Size(), nil
}

// HasBlob reports that there is a finished blob that can be opened, and whether
// OpenBlob would trust it as it is, or verify it first, which VerifyBlob does. It reads
// no content, and does not count as a use. fs.ErrNotExist if there is no such blob.
func (s *Store) HasBlob(ctx context.Context, d digest.Digest) (trusted bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	defer s.leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return false, fmt.Errorf("look up blob: %w", err)
	}
	f, info, err := s.blobFile(i)
	if err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	f.Close()
	r, known := s.index.Blob(i)
	return !s.suspects.doubt(i, info, known) && (!known || r.Size == info.Size()), nil
}

// missing drops the record of a blob that has no file, and returns why there is none
// to be opened.
func (s *Store) missing(i volume.ID, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, known := s.index.Blob(i); known {
			s.dropRecord(i)
		}
	case !exhausted(err) && !errors.Is(err, fs.ErrClosed):
		// The record stays: the file takes its space.
		s.log.Warn("blob cannot be opened, and counts as absent", "digest", i.Digest(), "error", err)
		err = absent{err}
	}
	return err
}

// absent is an fs.ErrNotExist that says why a file is none that can be used.
type absent struct{ error }

func (absent) Is(target error) bool { return target == fs.ErrNotExist }
func (a absent) Unwrap() error      { return a.error }

// unlinkBlob removes the file of a blob. One that is gone is no error.
func (s *Store) unlinkBlob(i volume.ID) error {
	if err := s.root.Remove(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) dropRecord(i volume.ID) {
	s.suspects.forget(i)
	s.index.Post(func(b *index.Batch) error { return b.DropBlob(i) })
}
