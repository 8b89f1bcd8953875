package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
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
	i, err := idOf(d)
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	s.opened.add(i)
	f, size, err := s.openBlob(ctx, i)
	if err != nil {
		s.opened.done(i)
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	return &File{File: f.bare(), opened: &s.opened, id: i}, size, nil
}

func (s *Store) openBlob(ctx context.Context, i id) (file, int64, error) {
	f, info, err := s.soundBlob(ctx, i)
	if err != nil {
		return nil, 0, err
	}
	s.touch(i)
	return f, info.Size(), nil
}

// touch counts a use.
func (s *Store) touch(i id) {
	if s.uses.touch(i, hourOf(s.now())) >= maxUses {
		s.keepHouseNow()
	}
}

// soundBlob opens a blob that is not in doubt, or not any more.
func (s *Store) soundBlob(ctx context.Context, i id) (file, fs.FileInfo, error) {
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
func (s *Store) sizedBlob(i id) (_ file, _ fs.FileInfo, doubt bool, err error) {
	f, info, err := s.blobFile(i)
	if err != nil {
		return nil, nil, false, err
	}
	r, known := s.blobRecord(i)
	if known && r.size != info.Size() {
		s.quarantine(i, info, fmt.Errorf("it has %d bytes, %d were recorded", info.Size(), r.size))
		f.Close()
		return nil, nil, false, fs.ErrNotExist
	}
	return f, info, s.suspects.doubt(i, info, known), nil
}

// blobFile opens the file of a blob. Where there is none, its record goes. One that
// cannot be opened is absent, too: it is filled anew, and replaced.
func (s *Store) blobFile(i id) (file, fs.FileInfo, error) {
	f, err := s.root.Open(i.blobPath())
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

func irregular(i id) error {
	return fmt.Errorf("%s is no regular file: %w", i.blobPath(), fs.ErrNotExist)
}

// StatBlob returns the size of a finished blob, or fs.ErrNotExist. It vouches for
// the blob as OpenBlob does, and so takes as long where one has to be verified
// first: one hash of it. It does not count as a use.
func (s *Store) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", d, err)
	}
	defer s.leave()
	i, err := idOf(d)
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
	i, err := idOf(d)
	if err != nil {
		return false, fmt.Errorf("look up blob: %w", err)
	}
	f, info, err := s.blobFile(i)
	if err != nil {
		return false, fmt.Errorf("look up blob %s: %w", d, err)
	}
	f.Close()
	r, known := s.blobRecord(i)
	return !s.suspects.doubt(i, info, known) && (!known || r.size == info.Size()), nil
}

// missing drops the record of a blob that has no file, and returns why there is none
// to be opened.
func (s *Store) missing(i id, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, known := s.blobRecord(i); known {
			s.dropRecord(i)
		}
	case !exhausted(err) && !errors.Is(err, fs.ErrClosed):
		// The record stays: the file takes its space.
		s.log.Warn("blob cannot be opened, and counts as absent", "digest", i.digest(), "error", err)
		err = absent{err}
	}
	return err
}

// absent is an fs.ErrNotExist that says why a file is none that can be used.
type absent struct{ error }

func (absent) Is(target error) bool { return target == fs.ErrNotExist }
func (a absent) Unwrap() error      { return a.error }

// blobRecord returns the record of a blob. What cannot be read is not known:
// the file decides.
func (s *Store) blobRecord(i id) (blobRecord, bool) {
	var buffer [keyBytes]byte
	recent := append(append(buffer[:0], tableBlob), i...)
	known, place := s.recent.look(recent)
	if r, ok := known.(*blobRecord); ok {
		return *r, true
	}
	raw, err := s.get(i.key(tableBlob))
	if err != nil {
		return blobRecord{}, false
	}
	r, ok := decodeBlob(raw)
	if ok {
		place.keep(recent, &r)
	}
	return r, ok
}

// unlinkBlob removes the file of a blob. One that is gone is no error.
func (s *Store) unlinkBlob(i id) error {
	if err := s.root.Remove(i.blobPath()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) dropRecord(i id) {
	s.suspects.forget(i)
	s.index.post(func(b *batch) error { return b.dropBlob(i) })
}
