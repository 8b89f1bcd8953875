package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// layout are the directories of a store, which may be removed while it is open.
type layout struct {
	root volume.Files
	path string
	mu   sync.Mutex // held to make what the directory lacks
}

// within calls fn, and once more if it failed for want of a directory: one that
// was removed, or that a full disk had no room for. It is ErrGone if that cannot
// be made.
func (l *layout) within(fn func() error) error {
	err := fn()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.make(); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrGone, l.path)
	} else if err != nil {
		return err
	}
	return fn()
}

// make makes what the directory lacks.
func (l *layout) make() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return volume.MakeLayout(l.root)
}
