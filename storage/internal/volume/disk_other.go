//go:build !linux

package volume

import (
	"errors"
	"io/fs"
	"math"
	"os"
)

// OwnLock says that lockFile does not exclude others.
const OwnLock = false

// lockFile leaves the exclusion to the lock that the database of the index has.
func lockFile(*os.File) error { return nil }

// openBeneath opens nothing.
func openBeneath(*os.File, string, string) (*os.File, error) { return nil, errors.ErrUnsupported }

// datasync brings f to the disk.
func datasync(f *os.File) error { return f.Sync() }

// allocate does nothing: a full disk is found out while writing.
func allocate(*os.File, int64) (taken bool, err error) { return false, nil }

// allocated returns the length of a file.
func allocated(info fs.FileInfo) int64 { return info.Size() }

// bytesOf does not know: limits by free space do nothing.
func bytesOf(string) (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

// inodesOf does not know either.
func inodesOf(string) (free, total int64, err error) { return 0, 0, nil }

// bootID does not know: each process might be the first after a boot.
func bootID() string { return "" }

// syncVolume does nothing: there are no checkpoints but clean ends.
func syncVolume(*os.File) (done bool, err error) { return false, nil }

// dropPages does nothing.
func dropPages(*os.File) {}
