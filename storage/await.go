package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// awaitIndex tries to open the index until it is open, and reports false if ctx
// ended first. Where nothing could be written, it is tried as soon as that is over.
func (s *Store) awaitIndex(ctx context.Context) bool {
	if s.index.IsOpen() {
		return true
	}
	wait, due := s.retry, time.Now().Add(s.retry)
	blocked := true // for all that is known: Open has just failed
	look := time.NewTicker(min(indexLook, s.retry))
	defer look.Stop()
	for {
		select {
		case <-look.C:
			freed := blocked && s.writable() == nil
			if !freed && time.Now().Before(due) {
				continue
			}
			err := s.openIndex(ctx)
			if err == nil {
				s.log.Info("index is open")
				return true
			}
			s.index.SetTrouble(err)
			s.log.Warn("index is still not open", "error", err)
			blocked = s.writable() != nil
			// Badger leaks some memory where it fails.
			if wait = min(2*wait, 32*s.retry); blocked || errors.Is(err, ErrLocked) {
				wait = s.retry
			}
			due = time.Now().Add(wait)
		case <-s.limits.Kick:
			// Nobody can keep to limits before the blobs are counted.
		case <-ctx.Done():
			return false
		}
	}
}

// writable returns why an index could not be written: too little space, or no new
// file can be made.
func (s *Store) writable() error {
	s.space.Forget()
	if err := s.space.CheckReserve(); err != nil {
		return err
	}
	// What else lies in this directory is swept away.
	name := path.Join(volume.IngestDir, "probe"+volume.Temporary)
	return s.layout.within(func() error {
		f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("make a file: %w", err)
		}
		return errors.Join(f.Close(), s.root.Remove(name))
	})
}
