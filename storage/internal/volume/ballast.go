package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// BallastFile is the name of the ballast. An operator may remove it, too.
const BallastFile = "ballast"

// Ballast is a file that only takes space, to be given back when a disk is so full that
// the index could not be opened.
type Ballast struct {
	root  Files
	space *Space
	bytes atomic.Int64
}

// NewBallast returns the ballast of a store, whether or not there is any.
func NewBallast(root Files, space *Space) *Ballast { return &Ballast{root: root, space: space} }

// Size returns how large the ballast is, as of the last look; 0 = there is none.
func (b *Ballast) Size() int64 { return b.bytes.Load() }

// Look finds out whether there is any.
func (b *Ballast) Look() (size int64, err error) {
	info, err := b.root.Lstat(BallastFile)
	if err == nil {
		size = info.Size()
	}
	b.bytes.Store(size)
	return size, err
}

// ballast is how large it is: half the reserve, 256 MiB at most.
func ballast(total int64) int64 { return Reserve(total) / 2 }

// Make makes the ballast while there is plenty of space.
func (b *Ballast) Make() error {
	free, total := b.space.Look()
	size := ballast(total)
	if free < 2*Floor(total)+size {
		return nil
	}
	if made, err := b.Look(); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && made >= size {
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
	} else {
		b.bytes.Store(size)
	}
	b.space.Forget()
	return err
}

// Drop gives the space back. No ballast is no error.
func (b *Ballast) Drop() error {
	if err := b.root.Remove(BallastFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop ballast: %w", err)
	}
	b.bytes.Store(0)
	b.space.Forget()
	return nil
}
