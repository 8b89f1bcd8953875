package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

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
