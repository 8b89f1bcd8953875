package index

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/mapfault"
	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// OpenReadable opens the index for reading only, where it cannot be written: tags,
// manifests and links are known then, and nothing is recorded. It is read until Close,
// or until the index is open. One that a crash left with a log cannot be read without
// being written, nor is one read of which the state does not say that it is whole.
func (x *Index) OpenReadable() error {
	switch st := x.State(); {
	case x.Rebuild:
		return errors.New("it is not asked for")
	case st.Probe == 0 || st.Damaged || st.Openings >= MaxOpenings:
		return errors.New("it is not known to be whole")
	}
	if err := removeEmpty(x.Root); err != nil {
		return err
	}
	switch logs, err := named(x.Root, volume.MetaDir, logSuffix); {
	case err != nil:
		return err
	case len(logs) > 0:
		// Badger would also remove it, when it closes what it has read.
		return errors.New("the last run did not close it")
	}
	if err := mapfault.Survive(); err != nil {
		x.Log.Warn("a disk that fails may end the process", "error", err)
	}
	db, err := x.tryReadable()
	if err != nil {
		return err
	}
	if err = probeReadable(db, x.State().Probe); err == nil && small(db) {
		err = verify(db)
	}
	if err != nil {
		return errors.Join(err, closeWithin(db, openPatience))
	}
	x.readable.Store(db)
	return nil
}

func (x *Index) tryReadable() (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	// The lock of the store keeps others away, and that of Badger would keep the store
	// itself from opening the index to write.
	return badger.Open(indexOptions(filepath.Join(x.Path, volume.MetaDir), x.Log, &x.lost).WithReadOnly(true).WithBypassLockGuard(true))
}

// probeReadable returns an error if the index does not hold the number that was written
// last.
func probeReadable(db *badger.DB, written int64) error {
	return db.View(func(txn *badger.Txn) error {
		raw, err := (&Txn{txn}).Get(probeKey)
		if err != nil {
			return fmt.Errorf("probe index: %w", err)
		}
		if !bytes.Equal(raw, record.Seal(record.AppendInt(record.Begin(8), written))) {
			return errors.New("probe index: it has lost what was written last")
		}
		return nil
	})
}

// CloseReadable closes what OpenReadable opened. Nobody reads any more.
func (x *Index) CloseReadable() error {
	db := x.readable.Load()
	if db == nil || x.lost.Load() {
		return nil
	}
	if err := x.closeDB(db); err != nil {
		return fmt.Errorf("close index that was read: %w", err)
	}
	return nil
}
