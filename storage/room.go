package storage

import (
	"context"
	"math/rand/v2"
	"path"
	"slices"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// shardSample is how many directories of blobs are looked at together to
	// find the oldest files.
	shardSample = 32
	// roomYoung is how long a new blob is safe from being removed unseen.
	roomYoung = 10 * time.Minute
	// roomTime bounds how long the opening of an index waits for room.
	roomTime = 2 * time.Second
)

// makeRoom makes room for the index while it is not open, and so cannot say
// which blobs are used least: the ballast goes, then suspended parts, then old
// files. It returns
// ErrNoSpace if that is not enough.
func (s *Store) makeRoom(ctx context.Context) error {
	s.space.Forget()
	if s.space.CheckReserve() == nil {
		return nil
	}
	if err := s.ballast.Drop(); err != nil {
		s.log.Warn("no room for the index", "error", err)
	}
	if s.space.CheckReserve() == nil {
		s.log.Warn("ballast dropped to make room for the index")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomTime)
	defer cancel()
	if err := s.sweepParts(s.now()); err != nil {
		s.log.Warn("sweep suspended parts", "error", err)
	}
	s.space.Forget()
	if excess := s.lacking(*s.limits.Load()); excess > 0 {
		blobs, bytes, err := s.removeOldest(ctx, excess)
		if err != nil && ctx.Err() == nil {
			s.log.Error("evict blobs without index", "error", err)
		}
		if blobs > 0 {
			s.usage.evictedBlobs.Add(blobs)
			s.usage.evictedBytes.Add(bytes)
			s.log.Info("evicted blobs without index", "blobs", blobs, "bytes", bytes)
		}
	}
	s.space.Forget()
	return s.space.CheckReserve()
}

// oldFile is a blob as the file system knows it.
type oldFile struct {
	name     string
	size     int64
	modified time.Time
}

// removeOldest removes blobs until they amount to excess bytes: of a random
// sample of the directories the older half, then of the next, and so on around.
func (s *Store) removeOldest(ctx context.Context, excess int64) (blobs, bytes int64, err error) {
	dirs, err := volume.Shards(s.root)
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
		files, err := s.oldFiles(ctx, sample)
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
			if err := s.root.Remove(f.name); err != nil {
				return blobs, bytes, err
			}
			blobs, bytes = blobs+1, bytes+f.size
		}
	}
	return blobs, bytes, ctx.Err()
}

// oldFiles returns the files of some directories that are not young, the oldest
// first.
func (s *Store) oldFiles(ctx context.Context, dirs []string) ([]oldFile, error) {
	var files []oldFile
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := s.root.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			// What is of a time to come is so by the clock, and of any age.
			if age := s.now().Sub(info.ModTime()); age >= 0 && age < roomYoung {
				continue
			}
			files = append(files, oldFile{path.Join(dir, e.Name()), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b oldFile) int { return a.modified.Compare(b.modified) })
	return files, nil
}
