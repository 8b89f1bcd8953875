package storage

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// mostHistory is how much of a history is read and written.
const mostHistory = 1 << 20

// LoadHistory returns what SaveHistory has written last, perhaps damaged;
// fs.ErrNotExist if nothing. The store knows nothing of what it means.
func (s *Store) LoadHistory() (raw []byte, err error) {
	err = s.life.Within(context.Background(), func() error {
		info, err := s.home.root.Lstat(volume.HistoryFile)
		if err != nil {
			return err
		}
		if info.Size() > mostHistory {
			return fmt.Errorf("%s has %d bytes, want at most %d", volume.HistoryFile, info.Size(), mostHistory)
		}
		raw, err = s.home.root.ReadFile(volume.HistoryFile)
		return err
	})
	return raw, err
}

// SaveHistory keeps what is known of the use of the store, in a file beside the index,
// in place of what was there. It is ErrNoSpace where the rest belongs to the index.
func (s *Store) SaveHistory(raw []byte) error {
	return s.life.Within(context.Background(), func() error {
		if err := s.home.space.CheckReserve(); err != nil {
			return err
		}
		return volume.ReplaceFile(s.home.root, volume.HistoryFile, raw)
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
