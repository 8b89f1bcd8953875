//go:build !linux

package storage

import (
	"errors"
	"math"
	"os"
)

// ownLock says that lockFile does not exclude others.
const ownLock = false

// lockFile leaves the exclusion to Badger's own directory lock.
func lockFile(*os.File) error { return nil }

// openBeneath opens nothing.
func openBeneath(*os.File, string, string) (*os.File, error) { return nil, errors.ErrUnsupported }

// datasync brings f to the disk.
func datasync(f *os.File) error { return f.Sync() }

// allocate does nothing: a full disk is found out while writing.
func allocate(*os.File, int64) (taken bool, err error) { return false, nil }

// volume does not know: limits by free space do nothing.
func volume(string) (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

// inodes does not know either.
func inodes(string) (free, total int64, err error) { return 0, 0, nil }

// bootID does not know: each process might be the first after a boot.
func bootID() string { return "" }

// syncVolume does nothing: there are no checkpoints but clean ends.
func syncVolume(*os.File) (done bool, err error) { return false, nil }

// dropPages does nothing.
func dropPages(*os.File) {}
