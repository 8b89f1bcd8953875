package index

import (
	"errors"
	"fmt"
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

// Verify verifies an index that is in use.
func (x *Index) Verify() error {
	db := x.db.Load()
	if db == nil {
		return ErrNoIndex
	}
	err := verify(db)
	x.NoteDamage(err)
	return err
}

// Examine is Verify of an index that is only looked at: what it finds is not damage yet.
func (x *Index) Examine() error {
	if err := x.Gone(); err != nil {
		return err
	}
	return verify(x.db.Load())
}

// Small reports whether all of the index was verified when it was opened.
func (x *Index) Small() bool { return small(x.db.Load()) }

// environment is what keeps an index from being opened that is whole.
var environment = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM,
	syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, volume.ErrLocked,
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
