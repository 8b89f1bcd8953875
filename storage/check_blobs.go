package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// shard is a directory of blobs: those whose sum begins with the same 12 bits.
type shard struct {
	algorithm byte
	n         int
}

func (h shard) dir() string {
	return path.Join(volume.BlobsDir, volume.ID([]byte{h.algorithm}).Algorithm().String(), fmt.Sprintf("%03x", h.n))
}

// id returns the id of the blob whose file has the name.
func (h shard) id(name string) (volume.ID, bool) {
	i, err := volume.IDOf(digest.NewDigestFromEncoded(volume.ID([]byte{h.algorithm}).Algorithm(), name))
	return i, err == nil && path.Dir(i.BlobPath()) == h.dir()
}

// records returns what the index knows of the blobs of the directory; nil = a
// record that cannot be read.
func (h shard) records(txn *index.Txn) (map[volume.ID]*index.Blob, error) {
	first := []byte{index.TableBlob, h.algorithm, byte(h.n >> 4)}
	it := txn.Iterate(first)
	defer it.Close()
	half := byte(h.n) & 15
	records := make(map[volume.ID]*index.Blob)
	for it.Seek(append(first, half<<4)); it.Next(); {
		key := it.Key()
		if len(key) <= len(first) || key[len(first)]>>4 != half {
			break
		}
		value, err := it.Value()
		if err != nil {
			return nil, err
		}
		i := volume.ID(key[1:])
		records[i] = nil
		if r, ok := index.DecodeBlob(value); ok {
			records[i] = &r
		}
	}
	return records, nil
}

// plan returns the directories that there are, or should be by what the index
// knows, and looks at what else lies between blobs/ and them.
func (c *checker) plan(ctx context.Context) ([]shard, error) {
	known := map[string]byte{digest.SHA256.String(): volume.SHA256, digest.SHA512.String(): volume.SHA512}
	wanted := make(map[shard]bool)
	err := c.within(func() error {
		for dir, algorithm := range known {
			err := c.level(ctx, path.Join(volume.BlobsDir, dir), func(name string) bool {
				n, err := strconv.ParseUint(name, 16, 12)
				h := shard{algorithm, int(n)}
				wanted[h] = err == nil && path.Base(h.dir()) == name
				return wanted[h]
			})
			if err != nil {
				return err
			}
		}
		return c.level(ctx, volume.BlobsDir, func(name string) bool { return known[name] != 0 })
	})
	if err == nil && c.indexed {
		err = c.table(ctx, index.TableBlob, func(_ *index.Txn, key, value []byte) {
			if len(key) < 4 {
				return
			}
			wanted[shard{key[1], int(key[2])<<4 | int(key[3]>>4)}] = true
			if r, ok := index.DecodeBlob(value); ok && !c.Verify {
				c.done.TotalBlobs++
				c.done.TotalBytes += r.Size
			}
		})
	}
	var plan []shard
	for h, wanted := range wanted {
		if wanted && (h.algorithm == volume.SHA256 || h.algorithm == volume.SHA512) {
			plan = append(plan, h)
		}
	}
	slices.SortFunc(plan, func(a, b shard) int {
		return cmp.Or(cmp.Compare(a.algorithm, b.algorithm), cmp.Compare(a.n, b.n))
	})
	return plan, err
}

// level looks at the entries of a directory that holds nothing but directories.
func (c *checker) level(ctx context.Context, dir string, wanted func(string) bool) error {
	entries, err := c.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case !wanted(e.Name()):
			c.stray(path.Join(dir, e.Name()), "its name is not one that the store gives")
		case !e.IsDir():
			c.stray(path.Join(dir, e.Name()), "it is no directory")
		}
	}
	return nil
}

// stray reports a file that is not one of the store. The store is entered.
func (c *checker) stray(name, reason string) {
	c.found(Finding{Kind: FindingStray, Name: name, Reason: reason}, "removed", func() error {
		err := c.store.root.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			return errNotOdd
		}
		return err
	})
}

// list returns what lies in a directory of blobs.
func (c *checker) list(h shard) (entries []fs.DirEntry, err error) {
	err = c.within(func() (err error) {
		entries, err = c.entries(h.dir())
		return err
	})
	return entries, err
}

// count finds out how much there is to read.
func (c *checker) count(_ context.Context, h shard) error {
	entries, err := c.list(h)
	if err != nil {
		return err
	}
	var bytes int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.TotalBlobs += int64(len(entries))
	c.done.TotalBytes += bytes
	return nil
}

// shard checks a directory of blobs.
func (c *checker) shard(ctx context.Context, h shard) error {
	var records map[volume.ID]*index.Blob
	err := c.within(func() error {
		if !c.indexed {
			return nil
		}
		txn, err := c.store.index.Begin()
		if err != nil {
			return err
		}
		defer txn.Discard()
		records, err = h.records(txn)
		return err
	})
	if err != nil {
		return err
	}
	entries, err := c.list(h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(h.dir(), e.Name())
		i, ok := h.id(e.Name())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok || !e.Type().IsRegular():
			err = c.within(func() error { c.stray(name, "it is no file of a blob"); return nil })
		default:
			err = c.blob(ctx, i, records[i])
			delete(records, i)
		}
		if err != nil {
			return err
		}
	}
	for i := range records {
		if err := c.within(func() error { c.missing(i); return nil }); err != nil {
			return err
		}
	}
	return nil
}
