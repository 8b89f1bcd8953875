package eviction

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// shardSample is how many directories of blobs are looked at together to
	// find the oldest files.
	shardSample = 32
	// youngAge is how long a new blob is safe from being removed unseen.
	youngAge = 10 * time.Minute
)

// Remover removes blobs, their records and their files.
type Remover struct {
	root  volume.Files
	space *volume.Space
	index *index.Index
	judge *integrity.Judge
	life  *life.Life
	log   *slog.Logger
	now   func() time.Time

	// Blobs and bytes were evicted; steps counts each blob as it goes.
	Blobs, Bytes, steps atomic.Int64
}

// NewRemover returns who removes blobs of an index and a directory.
func NewRemover(
	root volume.Files, space *volume.Space, x *index.Index, judge *integrity.Judge, l *life.Life, log *slog.Logger, now func() time.Time,
) *Remover {
	return &Remover{root: root, space: space, index: x, judge: judge, life: l, log: log, now: now}
}

// evicted counts what was evicted.
func (r *Remover) evicted(blobs, bytes int64) {
	r.Blobs.Add(blobs)
	r.Bytes.Add(bytes)
}

// Remove removes blobs, except those that are to be spared at the last moment:
// first the records, then the files. Where the disk is too full to write even that
// down, the files go first.
func (r *Remover) Remove(ids []volume.ID, spare func(volume.ID) bool) (gone images.Removed, err error) {
	if len(ids) == 0 {
		return gone, nil
	}
	ids = slices.DeleteFunc(ids, func(i volume.ID) bool {
		if !spare(i) {
			return false
		}
		gone.Spared = append(gone.Spared, i)
		return true
	})
	defer r.judge.Removals.Begin(slices.Clone(ids))()
	var dropped map[volume.ID]index.Blob
	drop := func() error {
		dropped = make(map[volume.ID]index.Blob)
		return r.index.Update(len(ids)*index.LinkBytes, func(b *index.Batch) error {
			gone.Blobs, gone.Bytes = b.Tally.Blobs, b.Tally.Bytes
			for _, i := range ids {
				if old, known := b.Blob(i); known {
					dropped[i] = old
				}
				if err := b.DropBlob(i); err != nil {
					return err
				}
			}
			gone.Blobs, gone.Bytes = gone.Blobs-b.Tally.Blobs, gone.Bytes-b.Tally.Bytes
			return nil
		})
	}
	err = drop()
	full := errors.Is(err, volume.ErrNoSpace)
	if err != nil && !full {
		return images.Removed{}, err
	}
	var stuck []volume.ID
	ids = slices.DeleteFunc(ids, func(i volume.ID) bool {
		err := r.life.Guard("evict blob", func() error { return r.judge.Unlink(i) })
		if err != nil {
			r.log.Error("remove blob", "digest", i.Digest(), "error", err)
			stuck, gone.Stuck = append(stuck, i), err
		} else {
			r.steps.Add(1)
		}
		return err != nil
	})
	r.space.Forget()
	switch {
	case full:
		err = drop()
	case len(stuck) > 0:
		// What still takes space is accounted for, and tried again.
		for _, i := range stuck {
			if old, ok := dropped[i]; ok {
				gone.Blobs, gone.Bytes = gone.Blobs-1, gone.Bytes-old.Size
			}
		}
		err = r.index.Update(len(stuck)*index.LinkBytes, func(b *index.Batch) error {
			for _, i := range stuck {
				if old, ok := dropped[i]; ok {
					if err := b.PutBlob(i, old); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			for _, i := range stuck {
				r.judge.Suspects.Trust(i)
			}
		}
	}
	return gone, err
}

// oldFile is a blob as the file system knows it.
type oldFile struct {
	name     string
	size     int64
	modified time.Time
}

// RemoveOldest removes blobs until they amount to excess bytes: of a random
// sample of the directories the older half, then of the next, and so on around.
func (r *Remover) RemoveOldest(ctx context.Context, excess int64) (blobs, bytes int64, err error) {
	dirs, err := volume.Shards(r.root)
	if err != nil {
		return 0, 0, err
	}
	shards := make([]string, len(dirs))
	for n, h := range dirs {
		shards[n] = h.Dir()
	}
	rand.Shuffle(len(shards), func(a, b int) { shards[a], shards[b] = shards[b], shards[a] })
	for left := shards; bytes < excess && len(shards) > 0; {
		if len(left) == 0 {
			left = shards
		}
		sample := left[:min(shardSample, len(left))]
		left = left[len(sample):]
		files, err := r.oldFiles(ctx, sample)
		if err != nil {
			return blobs, bytes, err
		}
		if len(files) == 0 {
			// Nothing is left here to go around for.
			shards = slices.DeleteFunc(slices.Clone(shards), func(dir string) bool { return slices.Contains(sample, dir) })
		}
		for _, f := range files[:(len(files)+1)/2] {
			if bytes >= excess || ctx.Err() != nil {
				break
			}
			if err := r.root.Remove(f.name); err != nil {
				return blobs, bytes, err
			}
			blobs, bytes = blobs+1, bytes+f.size
		}
	}
	return blobs, bytes, ctx.Err()
}

// oldFiles returns the files of some directories that are not young, the oldest
// first.
func (r *Remover) oldFiles(ctx context.Context, dirs []string) ([]oldFile, error) {
	var files []oldFile
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := r.root.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			// What is of a time to come is so by the clock, and of any age.
			if age := r.now().Sub(info.ModTime()); age >= 0 && age < youngAge {
				continue
			}
			files = append(files, oldFile{path.Join(dir, e.Name()), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b oldFile) int { return a.modified.Compare(b.modified) })
	return files, nil
}
