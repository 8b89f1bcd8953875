package integrity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

var errEmpty = errors.New("file is empty")

// blobCheck checks the blobs and what the index knows of them.
type blobCheck struct {
	*Judge
	*Check

	pace *Pace
	// indexed says that what the index does not know is not known.
	indexed bool
}

func (c *blobCheck) run(ctx context.Context) error {
	plan, err := c.plan(ctx)
	if err == nil && c.Check.Verify {
		err = c.walker.walk(ctx, plan, checkWorkers, c.count)
	}
	if err == nil {
		err = c.walker.walk(ctx, plan, checkWorkers, c.shard)
	}
	return err
}

// plan returns the directories that there are, or should be by what the index
// knows, and looks at what else lies between blobs/ and them.
func (c *blobCheck) plan(ctx context.Context) ([]volume.Shard, error) {
	plan := make(map[volume.Shard]struct{})
	err := c.life.Within(context.Background(), func() error {
		for dir, algorithm := range volume.Algorithms {
			err := c.level(ctx, path.Join(volume.BlobsDir, dir), func(name string) bool {
				h, ok := volume.ShardNamed(algorithm, name)
				if ok {
					plan[h] = struct{}{}
				}
				return ok
			})
			if err != nil {
				return err
			}
		}
		return c.level(ctx, volume.BlobsDir, func(name string) bool { return volume.Algorithms[name] != 0 })
	})
	if err == nil && c.indexed {
		err = c.Records.Shards(ctx, func(h volume.Shard, size int64) {
			plan[h] = struct{}{}
			if size >= 0 && !c.Check.Verify {
				c.expect(1, size)
			}
		})
	}
	return slices.SortedFunc(maps.Keys(plan), volume.Shard.Compare), err
}

// level looks at the entries of a directory that holds nothing but directories.
func (c *blobCheck) level(ctx context.Context, dir string, ours func(string) bool) error {
	entries, err := entries(c.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ours(e.Name()):
			c.Stray(path.Join(dir, e.Name()), "its name is not one that the store gives")
		case !e.IsDir():
			c.Stray(path.Join(dir, e.Name()), "it is no directory")
		}
	}
	return nil
}

// count finds out how much there is to read.
func (c *blobCheck) count(_ context.Context, h volume.Shard) error {
	list, err := c.walker.list(h)
	var bytes int64
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
	}
	c.expect(int64(len(list)), bytes)
	return err
}

// shard checks a directory of blobs.
func (c *blobCheck) shard(ctx context.Context, h volume.Shard) error {
	var records map[volume.ID]int64
	err := c.life.Within(context.Background(), func() (err error) {
		if c.indexed {
			records, err = c.Records.Shard(h)
		}
		return err
	})
	if err != nil {
		return err
	}
	list, err := c.walker.list(h)
	if err != nil {
		return err
	}
	for _, e := range list {
		i, ok := h.ID(e.Name())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok || !e.Type().IsRegular():
			err = c.life.Within(context.Background(), func() error { c.Stray(path.Join(h.Dir(), e.Name()), "it is no file of a blob"); return nil })
		default:
			size, known := records[i]
			if !known {
				size = -1
			}
			err = c.blob(ctx, i, size)
			delete(records, i)
		}
		if err != nil {
			return err
		}
	}
	for i := range records {
		if err := c.life.Within(context.Background(), func() error { c.missing(i); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// blob checks a file that is named as a blob, with the size that was recorded when the
// directory was read, -1 = none.
func (c *blobCheck) blob(ctx context.Context, i volume.ID, recorded int64) error {
	var seen sight
	var odd Finding
	err := c.life.Within(context.Background(), func() (err error) {
		if seen.info, err = c.root.Lstat(i.BlobPath()); err == nil && c.indexed && recorded != seen.info.Size() {
			odd = c.odd(i, seen.info)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // evicted since
	}
	if err != nil {
		return err
	}
	info, empty := seen.info, seen.info.Size() == 0
	var bytes int64
	if c.Check.Verify || empty || odd.Kind != "" && c.Repair {
		seen, err = c.walker.look(ctx, i, c.pace, func(n int64) { bytes += n; c.advance(0, n) }, nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.advance(1, info.Size()-bytes)
			return nil
		case err != nil:
			return err
		case seen.damage != nil && empty:
			seen.damage = errEmpty
		}
		seen.info = info
	}
	if err := c.life.Within(context.Background(), func() error { c.judge(i, seen, odd); return nil }); err != nil {
		return err
	}
	c.advance(1, info.Size()-bytes)
	return nil
}

// odd reports whether a file and its record do not go together, now that nothing
// is done to either.
func (c *blobCheck) odd(i volume.ID, info fs.FileInfo) (f Finding) {
	if !c.Removals.between(i, func() { f = c.compare(i, info) }) {
		return Finding{}
	}
	return f
}

func (c *blobCheck) compare(i volume.ID, info fs.FileInfo) (f Finding) {
	if c.Filling(i) {
		return f // a fill that puts its blob in place records it next
	}
	size, known := c.Records.Size(i)
	f = Finding{Digest: i.Digest(), Name: i.BlobPath()}
	switch {
	case c.unchanged(i, info) != nil:
	case !known:
		f.Kind, f.Reason = FindingUnrecorded, "the index does not know it"
	case size != info.Size():
		f.Kind, f.Reason = FindingSize, fmt.Sprintf("it has %d bytes, %d are recorded", info.Size(), size)
	}
	return f
}

// judge decides on a blob.
func (c *blobCheck) judge(i volume.ID, seen sight, odd Finding) {
	if seen.damage != nil {
		if errors.Is(c.unchanged(i, seen.info), fs.ErrNotExist) {
			return
		}
		done := "quarantined"
		if seen.info.Size() == 0 {
			done = "removed"
		}
		c.Found(Finding{Kind: FindingDamaged, Digest: i.Digest(), Name: i.BlobPath(), Reason: seen.damage.Error()}, done, func() error {
			return c.takeOut(i, seen)
		})
		return
	}
	if odd.Kind != "" {
		done := "adopted"
		if odd.Kind == FindingSize {
			done = "record corrected"
		}
		c.Found(odd, done, func() error {
			// It is as old as its file.
			err := c.record(i, seen.info, seen.info.ModTime())
			if errors.Is(err, fs.ErrNotExist) {
				return ErrInOrder
			}
			return err
		})
		if !c.Repair {
			return
		}
	}
	if seen.read && c.Repair && c.indexed && c.Suspects.Doubt(i, seen.info, true) {
		c.Suspects.Trust(i)
	}
	c.Note(func(r *Report) {
		r.Blobs++
		r.Bytes += seen.info.Size()
		if seen.read {
			r.Verified++
		}
	})
}

// takeOut takes a damaged blob out of use.
func (c *blobCheck) takeOut(i volume.ID, seen sight) error {
	if errors.Is(c.unchanged(i, seen.info), fs.ErrNotExist) {
		return ErrInOrder
	}
	if seen.info.Size() > 0 {
		c.Quarantine(i, seen.info, seen.damage)
	} else if err := c.Unlink(i); err != nil {
		return err
	}
	c.Suspects.Forget(i)
	_, err := c.dropMissing(i)
	return err
}

// missing reports a record whose blob has no file.
func (c *blobCheck) missing(i volume.ID) {
	f := Finding{Kind: FindingMissing, Reason: "there is no file"}
	if i.Valid() {
		f.Digest, f.Name = i.Digest(), i.BlobPath()
		still := false
		known := c.Removals.between(i, func() {
			_, err := c.root.Lstat(i.BlobPath())
			still = errors.Is(err, fs.ErrNotExist) && !c.Records.Lacks(i)
		})
		if !known || !still {
			return
		}
	}
	c.Found(f, "record dropped", func() error {
		dropped, err := c.dropMissing(i)
		if err == nil && !dropped {
			err = ErrInOrder
		}
		return err
	})
}

// dropMissing drops the records of a blob that has no file, and reports whether
// it did.
func (c *blobCheck) dropMissing(i volume.ID) (dropped bool, err error) {
	return c.Records.DropIf(i, func() bool {
		if !i.Valid() {
			return true
		}
		_, err := c.root.Lstat(i.BlobPath())
		return errors.Is(err, fs.ErrNotExist) // or else there is a file again, as far as anybody can tell
	})
}
