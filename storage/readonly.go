package storage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/mapfault"
)

// openReadable opens the index for reading only, where it cannot be written: tags,
// manifests and links are known then, and nothing is recorded. It is read until Close,
// or until the index is open. One that a crash left with a log cannot be read without
// being written, nor is one read of which the state does not say that it is whole.
func (s *Store) openReadable() error {
	switch st := &s.state.state; {
	case s.quiet || s.rebuild:
		return errors.New("it is not asked for")
	case st.probe == 0 || st.damaged || st.openings >= maxOpenings:
		return errors.New("it is not known to be whole")
	}
	if err := removeEmpty(s.root); err != nil {
		return err
	}
	switch logs, err := named(s.root, metaDir, logSuffix); {
	case err != nil:
		return err
	case len(logs) > 0:
		// Badger would also remove it, when it closes what it has read.
		return errors.New("the last run did not close it")
	}
	if err := mapfault.Survive(); err != nil {
		s.log.Warn("a disk that fails may end the process", "error", err)
	}
	db, err := s.tryReadable()
	if err != nil {
		return err
	}
	if err = s.probeReadable(db); err == nil && small(db) {
		err = verify(db)
	}
	if err != nil {
		return errors.Join(err, closeWithin(db, openPatience))
	}
	s.readable.Store(db)
	return nil
}

func (s *Store) tryReadable() (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	// The lock of the store keeps others away, and that of Badger would keep the store
	// itself from opening the index to write.
	return badger.Open(indexOptions(filepath.Join(s.path, metaDir), s.log, &s.lost).WithReadOnly(true).WithBypassLockGuard(true))
}

// probeReadable returns an error if the index lacks what was written last.
func (s *Store) probeReadable(db *badger.DB) error {
	return db.View(func(txn *badger.Txn) error {
		raw, err := get(txn, probeKey)
		if err != nil {
			return fmt.Errorf("probe index: %w", err)
		}
		if !bytes.Equal(raw, seal(appendInt(begin(8), s.state.probe))) {
			return errors.New("probe index: it has lost what was written last")
		}
		return nil
	})
}

// closeReadable closes what openReadable opened. Nobody reads any more.
func (s *Store) closeReadable() error {
	db := s.readable.Load()
	if db == nil {
		return nil
	}
	if err := s.closeBadger(db); err != nil {
		return fmt.Errorf("close index that was read: %w", err)
	}
	return nil
}
