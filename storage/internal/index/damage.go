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

// ErrUnbacked is an index of which the files lack pages that the process has.
var ErrUnbacked = errors.New("the disk had no room for all that was written to it")

// NoteFaults finds out whether the disk had no room for a page of a file that
// Badger has mapped. The process has it, and goes on with it; so the next snapshot
// holds everything, and the files are begun anew by the next opening.
func (x *Index) NoteFaults() {
	if n := x.Unbacked(); n != x.faults.Swap(n) {
		x.NoteDamage(ErrUnbacked)
	}
}

// NoteDamage remembers that something in the index could not be read. It goes on
// being used, since most of it can be; the next opening begins it anew.
func (x *Index) NoteDamage(err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoIndex) || !damaged(err) {
		return
	}
	if x.damage.CompareAndSwap(nil, &err) {
		x.Log.Error("index is damaged and will be begun anew at the next start", "error", err)
		x.SetTrouble(fmt.Errorf("index is damaged: %w", err))
		x.Damaged()
	}
}

// RecordDamage writes down that the index is damaged.
func (x *Index) RecordDamage() {
	if x.damage.Load() != nil && !x.State().Damaged {
		x.Note(func(st *volume.State) { st.Damaged = true })
	}
}

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
