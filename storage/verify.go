package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// VerifyBlob hashes the file of a blob as it is now. It returns nil if it has the
// digest; what the index says of its size is corrected. fs.ErrNotExist means that
// there is no such blob any more: no file, or one that did not match, which is in
// quarantine now. Any other error means that it could not be found out: ErrClosed
// if the store was closed meanwhile. Calls for one digest share one pass with
// each other and with whoever opens the blob. It takes as long as reading the
// blob does, and does not count as a use.
func (s *Store) VerifyBlob(ctx context.Context, d digest.Digest) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	defer s.leave()
	i, err := idOf(d)
	if err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	f, info, err := s.blobFile(i)
	if err == nil {
		err = s.verify(ctx, i, f, info)
	}
	if err != nil {
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	f.Close()
	return nil
}

// VerifyBlobAt is VerifyBlob for who verifies many blobs: it keeps to a pace (nil =
// none), tells after each piece how many bytes it has read (unless read is nil), and
// ends with ctx. Nobody who opens the blob waits for it.
func (s *Store) VerifyBlobAt(ctx context.Context, d digest.Digest, p *Pace, read func(bytes int64)) error {
	if read == nil {
		read = func(int64) {}
	}
	i, err := idOf(d)
	if err != nil {
		return fmt.Errorf("verify blob: %w", err)
	}
	matches := false
	err = s.task(ctx, func(ctx context.Context) (err error) {
		matches, err = s.matchAt(ctx, i, p, read)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("verify blob %s: %w", d, err)
	case matches:
		return nil
	}
	return s.VerifyBlob(ctx, d) // which decides
}

// matchAt reads the file of a blob, and records the blob if it matches its digest.
func (s *Store) matchAt(ctx context.Context, i id, p *Pace, read func(int64)) (matches bool, err error) {
	f, info, err := s.blobFile(i)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if match(ctx, &countedReads{file: f, each: read}, i, p) != nil {
		return false, ctx.Err()
	}
	f.dropPages()
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	s.vouch(i, info)
	return true, nil
}

// verify reads the file of a blob, and records the blob if it matches its digest.
// One that does not is quarantined, and fs.ErrNotExist. The pass goes on when ctx ends.
// After an error, the file is closed, or will be.
func (s *Store) verify(ctx context.Context, i id, f file, info fs.FileInfo) error {
	pass := s.verifying.DoChan(string(i), func() (any, error) {
		return nil, s.guard("verify blob", func() error { return s.matchShared(i, f, info) })
	})
	select {
	case verified := <-pass:
		if verified.Err != nil {
			f.Close()
		}
		return verified.Err
	case <-ctx.Done():
		// It may be this file that the pass reads.
		go func() {
			<-pass
			f.Close()
		}()
		return ctx.Err()
	}
}

// matchShared is the pass that all share who wait for it.
func (s *Store) matchShared(i id, f file, info fs.FileInfo) error {
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	err := match(s.life, f, i, nil)
	switch {
	case err == nil:
		s.vouch(i, info)
	case s.life.Err() != nil:
		err = ErrClosed
	case !exhausted(err):
		s.quarantine(i, info, err)
		err = fs.ErrNotExist
	}
	return err
}

// vouch ends the doubt about a blob that was verified.
func (s *Store) vouch(i id, info fs.FileInfo) {
	old, known := s.blobRecord(i)
	if !known || old.size != info.Size() {
		err := s.record(i, info, s.now())
		if known = err == nil; !known {
			s.log.Debug("blob is verified but not recorded", "digest", i.digest(), "error", err)
		}
	}
	s.suspects.absolve(i)
	if s.suspects.doubt(i, info, known) {
		s.suspects.trust(i)
	}
}

// record records a blob whose file was verified. It is fs.ErrNotExist if that was
// evicted or replaced meanwhile.
func (s *Store) record(i id, info fs.FileInfo, created time.Time) error {
	r := blobRecord{size: info.Size(), created: created}
	return s.index.offer(context.Background(), linkBytes, func(b *batch) error {
		// Who removes it drops the record before the file.
		if s.going.has(i) {
			return fs.ErrNotExist
		}
		if err := s.unchanged(i, info); err != nil {
			return err
		}
		return b.putBlob(i, r)
	})
}

// exhausted reports whether err says nothing about the file.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
