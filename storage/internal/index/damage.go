package index

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// smallIndex is the size in bytes up to which all of an index is verified
// before it is used: a fraction of a second.
const smallIndex = 64 << 20

func small(db *badger.DB) bool {
	tables, _ := db.Size()
	return tables <= smallIndex
}

// verify reads all of the index: to Badger v4.9, a key in a damaged block is one
// that does not exist. It panics over some of the damage that it is asked for.
func verify(db *badger.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		if err != nil {
			err = fmt.Errorf("verify index: %w", err)
		}
	}()
	return db.VerifyChecksum()
}

// verifyIndex verifies an index that is in use.
func (s *Store) verifyIndex(db *badger.DB) error {
	err := verify(db)
	if err != nil {
		s.noteDamage(err)
	}
	return err
}

// errUnbacked is an index of which the files lack pages that the process has.
var errUnbacked = errors.New("the disk had no room for all that was written to it")

// noteFaults finds out whether the disk had no room for a page of a file that
// Badger has mapped. The process has it, and goes on with it; so the next snapshot
// holds everything, and the files are begun anew by the next opening.
func (s *Store) noteFaults() {
	if n := s.unbacked(); n != s.faults.Swap(n) {
		s.noteDamage(errUnbacked)
	}
}

// noteDamage remembers that something in the index could not be read. It goes on
// being used, since most of it can be; the next opening begins it anew.
func (s *Store) noteDamage(err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoIndex) || !damaged(err) {
		return
	}
	if s.damage.CompareAndSwap(nil, &err) {
		s.log.Error("index is damaged and will be begun anew at the next start", "error", err)
		s.setIndexError(fmt.Errorf("index is damaged: %w", err))
		s.keepHouseNow()
	}
}

// recordDamage writes down that the index is damaged.
func (s *Store) recordDamage() {
	if s.damage.Load() != nil && !s.state.Damaged {
		s.noteState(func(st *volume.State) { st.Damaged = true })
	}
}

// environment is what keeps an index from being opened that is whole.
var environment = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
	syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, ErrLocked,
}

// damaged reports whether err is the fault of the index. Badger does not wrap the
// errors that it passes on: their text has to tell.
func damaged(err error) bool {
	for _, cause := range environment {
		if errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()) {
			return false
		}
	}
	return true
}
