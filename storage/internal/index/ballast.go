package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ballastFile is a file that only takes space, to be given back when a disk is
// so full that the index could not be opened. An operator may remove it, too.
const ballastFile = "ballast"

// ballast is how large it is: half the reserve, 256 MiB at most.
func ballast(total int64) int64 { return volume.Reserve(total) / 2 }

// makeBallast makes the ballast while there is plenty of space.
func (s *Store) makeBallast() error {
	free, total := s.space.Look()
	size := ballast(total)
	if free < 2*volume.Floor(total)+size {
		return nil
	}
	if info, err := s.root.Lstat(ballastFile); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && info.Size() >= size {
			return nil
		}
		if err := s.dropBallast(); err != nil {
			return err
		}
	}
	f, err := s.root.OpenFile(ballastFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make ballast: %w", err)
	}
	taken, err := f.Allocate(size)
	if err == nil && taken {
		err = f.Truncate(size)
	}
	if err = errors.Join(err, f.Close()); err != nil || !taken {
		// A file that takes no space is no ballast.
		err = errors.Join(err, s.dropBallast())
	}
	s.space.Forget()
	return err
}

// dropBallast gives the space back. No ballast is no error.
func (s *Store) dropBallast() error {
	if err := s.root.Remove(ballastFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop ballast: %w", err)
	}
	s.space.Forget()
	return nil
}
