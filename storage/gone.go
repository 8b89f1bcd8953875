package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ErrGone means that the directory of the store, or that of its index, was
// removed while the store was open. It is not made again: nothing is recorded,
// and without the first nothing stored, until the store is opened again.
var ErrGone = errors.New("directory was removed while the store was open")

// indexGone returns ErrGone once the directory of the open index was removed.
// Badger goes on with files that have no name any more until it needs the next
// one, which it then tries to make for ever, or panics for want of. So nothing
// more may be written.
func (s *Store) indexGone() error {
	s.noteFaults()
	if s.lost.Load() {
		return ErrGone
	}
	if _, err := s.root.Lstat(volume.MetaDir); !errors.Is(err, fs.ErrNotExist) || s.db.Load() == nil {
		return nil
	}
	if !s.lost.Swap(true) {
		s.setIndexError(ErrGone)
		s.log.Error("index is not written any more", "error", ErrGone)
	}
	return ErrGone
}

// inLayout calls fn, and once more if it failed for want of a directory: one that
// was removed, or that a full disk had no room for. It is ErrGone if that cannot
// be made.
func (s *Store) inLayout(fn func() error) error {
	err := fn()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.makeLayout(); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrGone, s.path)
	} else if err != nil {
		return err
	}
	return fn()
}

// makeLayout makes what the directory lacks.
func (s *Store) makeLayout() error {
	s.layingOut.Lock()
	defer s.layingOut.Unlock()
	return volume.MakeLayout(s.root)
}
