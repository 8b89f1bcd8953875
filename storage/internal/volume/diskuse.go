package volume

import (
	"context"
	"errors"
	"io/fs"
	"path"
)

// DiskUse is what the directory of a store takes on the disk, in allocated bytes: as du
// tells it.
type DiskUse struct {
	Blobs   int64 `json:"blob_bytes"`
	Index   int64 `json:"index_bytes"`
	Ballast int64 `json:"ballast_bytes"`
	// Other are downloads that run or are suspended, snapshots, quarantine, and the rest.
	Other int64 `json:"other_bytes"`
}

// Total returns all of it.
func (d DiskUse) Total() int64 { return d.Blobs + d.Index + d.Ballast + d.Other }

// MeasureDisk looks at all files of a store.
func MeasureDisk(ctx context.Context, root Files) (d DiskUse, err error) {
	of := func(top string) *int64 {
		switch top {
		case BlobsDir:
			return &d.Blobs
		case MetaDir:
			return &d.Index
		case BallastFile:
			return &d.Ballast
		}
		return &d.Other
	}
	var measure func(name string, to *int64) error
	measure = func(name string, to *int64) error {
		info, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it has just gone
		case err != nil:
			return err
		}
		if *to += allocated(info); !info.IsDir() {
			return nil
		}
		entries, err := root.ReadDir(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			below := to
			if name == "." {
				below = of(e.Name())
			}
			if err := errors.Join(ctx.Err(), measure(path.Join(name, e.Name()), below)); err != nil {
				return err
			}
		}
		return nil
	}
	err = measure(".", &d.Other)
	return d, err
}
