package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// ballastFile is a file that only takes space, to be given back when a disk is
// so full that the index could not be opened. An operator may remove it, too.
const ballastFile = "ballast"

// ballast is how large it is: half the reserve, 256 MiB at most.
func ballast(total int64) int64 { return reserve(total) / 2 }

// makeBallast makes the ballast while there is plenty of space.
func (s *Store) makeBallast() error {
	free, total := s.space.look()
	size := ballast(total)
	if free < 2*floor(total)+size {
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
	taken, err := f.allocate(size)
	if err == nil && taken {
		err = f.Truncate(size)
	}
	if err = errors.Join(err, f.Close()); err != nil || !taken {
		// A file that takes no space is no ballast.
		err = errors.Join(err, s.dropBallast())
	}
	s.space.forget()
	return err
}

// dropBallast gives the space back. No ballast is no error.
func (s *Store) dropBallast() error {
	if err := s.root.Remove(ballastFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop ballast: %w", err)
	}
	s.space.forget()
	return nil
}

// securer takes the space that the log of Badger's newest memtable will need:
// it is a sparse file that is written through a mapping, where a full disk is
// answered with a SIGBUS. Only the writer uses it.
type securer struct {
	root    files
	space   *space
	secured string
}

// secure looks whether the log changed since the last time.
func (c *securer) secure() error {
	logs, err := named(c.root, metaDir, ".mem")
	if err != nil || len(logs) == 0 {
		return err
	}
	// The names are numbers of five digits, or more when those are used up.
	newest := slices.MaxFunc(logs, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	if newest == c.secured {
		return nil
	}
	f, err := c.root.OpenFile(newest, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// A small file system has its reserve, and no space to spare.
	if _, total := c.space.look(); info.Size() <= total/100 {
		if _, err := f.allocate(info.Size()); err != nil {
			c.space.forget()
			return err
		}
	}
	c.secured = newest
	return nil
}
