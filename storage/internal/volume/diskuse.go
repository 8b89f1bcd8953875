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
	info, err := root.Lstat(".")
	if err != nil {
		return d, err
	}
	d.Other = allocated(info)
	entries, err := root.ReadDir(".")
	for _, e := range entries {
		bytes, merr := Allocated(ctx, root, e.Name())
		err = errors.Join(err, merr)
		switch e.Name() {
		case BlobsDir:
			d.Blobs += bytes
		case MetaDir:
			d.Index += bytes
		case BallastFile:
			d.Ballast += bytes
		default:
			d.Other += bytes
		}
	}
	return d, err
}

// Allocated returns the bytes that a file takes on the disk, or a directory with all that
// is in it; 0 if it has just gone.
func Allocated(ctx context.Context, root Files, name string) (int64, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	bytes := allocated(info)
	if !info.IsDir() {
		return bytes, nil
	}
	entries, err := root.ReadDir(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return bytes, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return bytes, err
		}
		below, err := Allocated(ctx, root, path.Join(name, e.Name()))
		if bytes += below; err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}
