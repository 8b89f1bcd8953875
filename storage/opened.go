package storage

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// File is a finished blob, open for reading. Its os.File is bare, for callers that let
// the kernel send it, but has to be closed by Close: until then the blob is not
// evicted.
type File struct {
	*os.File

	opened *opened
	id     volume.ID
}

// Close closes the file. A second call is fs.ErrClosed.
func (f *File) Close() error {
	err := f.File.Close()
	if !errors.Is(err, fs.ErrClosed) {
		f.opened.done(f.id)
	}
	return err
}

// openedShards keep those who open different blobs out of each other's way.
const openedShards = 16

// opened are the blobs that are open, and how often. The zero value has none.
// Safe for concurrent use.
type opened struct {
	shards [openedShards]openedShard
}

type openedShard struct {
	mu    sync.Mutex
	times map[volume.ID]int
}

// shard returns where a blob is counted.
func (o *opened) shard(i volume.ID) *openedShard { return &o.shards[i[len(i)-1]%openedShards] }

func (o *opened) add(i volume.ID) {
	s := o.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = make(map[volume.ID]int)
	}
	s.times[i]++
}

func (o *opened) done(i volume.ID) {
	s := o.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times[i]--; s.times[i] == 0 {
		delete(s.times, i)
	}
}

// has reports whether a blob is open.
func (o *opened) has(i volume.ID) bool {
	s := o.shard(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.times[i]
	return ok
}
