package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// BallastFile is the name of the ballast. An operator may remove it, too.
const BallastFile = "ballast"

// Ballast is a file that only takes space, to be given back when a disk is so full that
// the index could not be opened.
type Ballast struct {
	root  Files
	space *Space
}

// NewBallast returns the ballast of a store, whether or not there is any.
func NewBallast(root Files, space *Space) *Ballast { return &Ballast{root, space} }

// ballast is how large it is: half the reserve, 256 MiB at most.
func ballast(total int64) int64 { return Reserve(total) / 2 }

// Make makes the ballast while there is plenty of space.
func (b *Ballast) Make() error {
	free, total := b.space.Look()
	size := ballast(total)
	if free < 2*Floor(total)+size {
		return nil
	}
	if info, err := b.root.Lstat(BallastFile); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && info.Size() >= size {
			return nil
		}
		if err := b.Drop(); err != nil {
			return err
		}
	}
	f, err := b.root.OpenFile(BallastFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make ballast: %w", err)
	}
	taken, err := f.Allocate(size)
	if err == nil && taken {
		err = f.Truncate(size)
	}
	if err = errors.Join(err, f.Close()); err != nil || !taken {
		// A file that takes no space is no ballast.
		err = errors.Join(err, b.Drop())
	}
	b.space.Forget()
	return err
}

// Drop gives the space back. No ballast is no error.
func (b *Ballast) Drop() error {
	if err := b.root.Remove(BallastFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop ballast: %w", err)
	}
	b.space.Forget()
	return nil
}
