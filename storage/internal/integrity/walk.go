package integrity

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// walker goes through the blobs, within the life of the store.
type walker struct {
	root volume.Files
	life *life.Life
}

// walk calls fn for directories of blobs, a few at a time. A panic is an error.
func (w *walker) walk(ctx context.Context, shards []volume.Shard, workers int, fn func(context.Context, volume.Shard) error) error {
	todo := make(chan volume.Shard)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		for _, h := range shards {
			select {
			case todo <- h:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for h := range todo {
				if err := w.life.Guard("check blobs", func() error { return fn(ctx, h) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// list returns what lies in a directory of blobs.
func (w *walker) list(h volume.Shard) (list []fs.DirEntry, err error) {
	err = w.life.Within(context.Background(), func() (err error) {
		list, err = entries(w.root, h.Dir())
		return err
	})
	return list, err
}

// sight is what a look at the file of a blob has shown.
type sight struct {
	info   fs.FileInfo // nil if it cannot be opened
	read   bool
	damage error // what is wrong with it; nil = it matches its digest
}

// look reads the file of a blob, if that is wanted; nil = it is. An error means that
// nothing was found out: fs.ErrNotExist that there is no such file. progress, if not
// nil, hears of each piece. The store may close meanwhile.
func (w *walker) look(ctx context.Context, i volume.ID, p *Pace, progress func(bytes int64), wanted func(fs.FileInfo) bool) (seen sight, err error) {
	var f volume.File
	err = w.life.Within(context.Background(), func() (err error) { f, err = w.root.Open(i.BlobPath()); return err })
	if errors.Is(err, life.ErrClosed) || errors.Is(err, fs.ErrNotExist) {
		return seen, err
	}
	if err == nil {
		defer f.Close()
		if seen.info, err = f.Stat(); err == nil && wanted != nil && !wanted(seen.info) {
			return seen, nil
		}
	}
	if err == nil {
		err = match(ctx, f, i, p, progress)
		f.DropPages()
	}
	if ctx.Err() != nil {
		return seen, ctx.Err()
	}
	if errors.Is(err, fs.ErrPermission) || Exhausted(err) {
		return seen, err
	}
	seen.read, seen.damage = true, err
	return seen, nil
}
