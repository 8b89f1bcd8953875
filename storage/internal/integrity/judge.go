package integrity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Records are what an index knows of the blobs.
type Records interface {
	// Size returns the size that is recorded of a blob, if there is a record.
	Size(i volume.ID) (size int64, known bool)
	// Put records a blob, unless check returns an error: the record is written together
	// with what that finds out.
	Put(i volume.ID, size int64, created time.Time, check func() error) error
	// Drop has the record of a blob dropped soon, if at all, and if the condition holds then:
	// whoever looks next asks again.
	Drop(i volume.ID, condition func() bool)
	// DropAll drops the records of blobs.
	DropAll(ids []volume.ID) error
	// DropIf drops the record of a blob if there is one and the condition holds, and
	// reports whether it did. Without index there is none.
	DropIf(i volume.ID, condition func() bool) (dropped bool, err error)
	// Lacks reports whether it is certain that there is no record of a blob.
	Lacks(i volume.ID) bool
	// Shard returns the sizes that are recorded of the blobs of a directory; -1 = the
	// record cannot be read.
	Shard(h volume.Shard) (map[volume.ID]int64, error)
	// Shards calls fn for each record of a blob, with its directory and size.
	Shards(ctx context.Context, fn func(h volume.Shard, size int64)) error
}

// Options are what a Judge needs of a store.
type Options struct {
	Root    volume.Files
	Space   *volume.Space
	State   *volume.StateFile
	Life    *life.Life
	Log     *slog.Logger
	Now     func() time.Time
	Records Records
	// Filling reports whether a part of the blob is running.
	Filling func(volume.ID) bool
}

// Judge finds out whether blobs are what their names say, and takes those out of use
// that are not. Its methods are safe for concurrent use.
type Judge struct {
	Options
	Suspects  Suspects
	Removals  Removals
	LastScrub LastScrub

	walker     walker
	quarantine quarantine
	verifying  singleflight.Group // by id
	placing    placing
	recheck    chan struct{} // asks the scrubber to look again at what was condemned
	damaged    atomic.Int64
}

// New returns the judge of a store.
func New(o Options) *Judge {
	return &Judge{
		Options: o, recheck: make(chan struct{}, 1),
		walker:     walker{root: o.Root, life: o.Life},
		quarantine: quarantine{root: o.Root, space: o.Space, log: o.Log, now: o.Now},
	}
}

// Damaged returns how many blobs were found to be damaged.
func (j *Judge) Damaged() int64 { return j.damaged.Load() }

// Verify reads the open file of a blob, and records the blob if it matches its digest.
// One that does not is quarantined, and fs.ErrNotExist. Calls for one blob share one
// pass, which goes on when ctx ends. After an error, the file is closed, or will be. It is
// life.ErrClosed if the store was closed meanwhile.
func (j *Judge) Verify(ctx context.Context, i volume.ID, f volume.File, info fs.FileInfo) error {
	pass := j.verifying.DoChan(string(i), func() (any, error) {
		return nil, j.Life.Guard("verify blob", func() error { return j.verify(i, f, info) })
	})
	select {
	case verified := <-pass:
		err := verified.Err
		if err == nil && verified.Shared {
			// The pass may have read the file that has replaced this one.
			err = j.unchanged(i, info)
		}
		if err != nil {
			f.Close()
		}
		return err
	case <-ctx.Done():
		// It may be this file that the pass reads.
		go func() {
			<-pass
			f.Close()
		}()
		return ctx.Err()
	}
}

// verify is the pass that all share who wait for it.
func (j *Judge) verify(i volume.ID, f io.ReaderAt, info fs.FileInfo) error {
	return j.Life.Within(context.Background(), func() error {
		ctx := j.Life.Context()
		err := match(ctx, f, i, nil, nil)
		switch {
		case err == nil:
			j.vouch(i, info, j.Now())
		case ctx.Err() != nil:
			err = life.ErrClosed
		case !Exhausted(err):
			j.Quarantine(i, info, err)
			err = fs.ErrNotExist
		}
		return err
	})
}

// Matches reads the open file of a blob at a pace, and records the blob if it matches
// its digest. It decides nothing about one that does not. read hears of each piece.
func (j *Judge) Matches(ctx context.Context, i volume.ID, f volume.File, info fs.FileInfo, p *Pace, read func(bytes int64)) (bool, error) {
	if match(ctx, f, i, p, read) != nil {
		return false, ctx.Err()
	}
	f.DropPages()
	return true, j.Life.Within(context.Background(), func() error {
		j.vouch(i, info, j.Now())
		return nil
	})
}

// Decide verifies a blob for a reader of an open file: one that was evicted or replaced
// meanwhile decides for itself.
func (j *Judge) Decide(i volume.ID, f io.ReaderAt, info fs.FileInfo, verify func() error) error {
	err := verify()
	if err == nil {
		err = j.unchanged(i, info)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = match(j.Life.Context(), f, i, nil, nil)
	}
	return err
}

// vouch ends the doubt about a blob that was verified. A record that is wrong, or not
// there, becomes right.
func (j *Judge) vouch(i volume.ID, info fs.FileInfo, created time.Time) {
	condemned := j.Suspects.Absolve(i)
	size, known := j.Records.Size(i)
	// The record of one that was condemned may be about to be dropped.
	if condemned || !known || size != info.Size() {
		err := j.record(i, info, created)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if known = err == nil; !known {
			j.Log.Debug("blob is verified but not recorded", "digest", i.Digest(), "error", err)
		}
	}
	if j.Suspects.Doubt(i, info, known) {
		j.Suspects.Trust(i)
	}
}

// record records a blob whose file was verified. It is fs.ErrNotExist if that was
// evicted or replaced meanwhile.
func (j *Judge) record(i volume.ID, info fs.FileInfo, created time.Time) error {
	return j.Records.Put(i, info.Size(), created, func() error {
		// Whoever removes it drops the record before the file.
		if j.Removals.Has(i) {
			return fs.ErrNotExist
		}
		return j.unchanged(i, info)
	})
}

// unchanged returns nil if the file of a blob is still the one that was read,
// fs.ErrNotExist if it is not, and another error if that cannot be found out.
func (j *Judge) unchanged(i volume.ID, info fs.FileInfo) error {
	now, err := j.Root.Lstat(i.BlobPath())
	if err == nil && !os.SameFile(now, info) {
		return fs.ErrNotExist
	}
	return err
}

// Moved reports whether the file of a blob is not the one that was opened any more.
func (j *Judge) Moved(i volume.ID, info fs.FileInfo) (bool, error) {
	err := j.unchanged(i, info)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// Drop drops the record of a blob that has no file.
func (j *Judge) Drop(i volume.ID) {
	j.Suspects.Forget(i)
	j.Records.Drop(i, func() bool { return true })
}

// Missing has the record of a blob dropped soon that had no file, unless one has come
// meanwhile: whoever places it records it at once.
func (j *Judge) Missing(i volume.ID) {
	gone := func() bool {
		_, err := j.Root.Lstat(i.BlobPath())
		return errors.Is(err, fs.ErrNotExist)
	}
	if gone() {
		j.Suspects.Forget(i)
		j.Records.Drop(i, gone)
	}
}

// Unlink removes the file of a blob. One that is gone is no error.
func (j *Judge) Unlink(i volume.ID) error {
	if err := j.Root.Remove(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Recorded reports whether a blob of the size is there already, as far as the index
// knows.
func (j *Judge) Recorded(i volume.ID, size int64) bool {
	recorded, known := j.Records.Size(i)
	return known && recorded == size
}

// Trusts reports whether a blob of the size is recorded, and has a file of that size
// which can be opened, and need not be verified. One without a record, or in doubt, may
// be anything.
func (j *Judge) Trusts(i volume.ID, size int64) bool {
	if !j.Recorded(i, size) {
		return false
	}
	f, err := j.Root.Open(i.BlobPath())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			j.Missing(i)
		}
		return false
	}
	info, err := f.Stat()
	f.Close()
	return err == nil && info.Mode().IsRegular() && info.Size() == size && !j.Suspects.Doubt(i, info, true)
}

// Sized compares the file of a blob with its record, and reports whether it is in doubt.
// One of another size is quarantined, and fs.ErrNotExist.
func (j *Judge) Sized(i volume.ID, info fs.FileInfo) (doubt bool, err error) {
	size, known := j.Records.Size(i)
	if known && size != info.Size() {
		j.Quarantine(i, info, fmt.Errorf("it has %d bytes, %d were recorded", info.Size(), size))
		return false, fs.ErrNotExist
	}
	return j.Suspects.Doubt(i, info, known), nil
}
