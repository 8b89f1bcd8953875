package storage

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// mostKept is how much of a file is read that others have written.
const mostKept = 1 << 20

// LoadHistory returns what SaveHistory has written last, perhaps damaged;
// fs.ErrNotExist if nothing. The store knows nothing of what it means.
func (s *Store) LoadHistory() ([]byte, error) { return s.loadFile(volume.HistoryFile) }

// SaveHistory keeps what is known of the use of the store, in a file beside the index,
// in place of what was there. It is ErrNoSpace where the rest belongs to the index.
func (s *Store) SaveHistory(raw []byte) error { return s.saveFile(volume.HistoryFile, raw) }

// LoadShared is LoadHistory for SaveShared.
func (s *Store) LoadShared() ([]byte, error) { return s.loadFile(volume.SharedFile) }

// SaveShared is SaveHistory for what is known of a bucket that the store shares.
func (s *Store) SaveShared(raw []byte) error { return s.saveFile(volume.SharedFile, raw) }

func (s *Store) loadFile(name string) (raw []byte, err error) {
	err = s.life.Within(context.Background(), func() error {
		info, err := s.home.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Size() > mostKept {
			return fmt.Errorf("%s has %d bytes, want at most %d", name, info.Size(), mostKept)
		}
		raw, err = s.home.root.ReadFile(name)
		return err
	})
	return raw, err
}

func (s *Store) saveFile(name string, raw []byte) error {
	return s.life.Within(context.Background(), func() error {
		if err := s.home.space.CheckReserve(); err != nil {
			return err
		}
		return volume.ReplaceFile(s.home.root, name, raw)
	})
}

// CheckWritable returns why nothing new can be kept: too little space or inodes, or no new
// file can be made. It makes one, and removes it.
func (s *Store) CheckWritable() error {
	return s.life.Within(context.Background(), func() error {
		if err := s.home.space.CheckFloor(0); err != nil {
			return err
		}
		return s.home.writable()
	})
}
