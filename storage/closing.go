package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// closeRoom is more than what Badger writes when it is closed: its memtable,
	// as a table, through a mapping.
	closeRoom = 48 << 20
	// closeRetry is how often a disk that is too full to close the index is
	// looked at again.
	closeRetry = time.Second
	// closePatience is how long Close waits for Badger, which tries again and
	// again for ever what it cannot write; openPatience how long opening does for
	// one that has just failed.
	closePatience = 10 * time.Second
	openPatience  = 2 * time.Second
)

// closeIndex closes the index. On a disk that is too full to do it safely, that
// is left to a goroutine that waits for room: what the index holds is in its
// log, and there the next process finds it.
func (s *Store) closeIndex(db *badger.DB) error {
	if err := s.indexGone(); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	if s.roomToClose() {
		if err := s.closeBadger(db); err != nil {
			return fmt.Errorf("close index: %w", err)
		}
		// Beside the log that the writer has made in advance, nobody can read the index
		// without writing.
		if err := removeEmpty(s.root); err != nil {
			s.log.Warn("remove the next log of the index", "error", err)
		}
		if s.synced() {
			s.noteState(func(st *state) { st.clean, st.checkpoint = true, s.now() })
		}
		return nil
	}
	s.log.Error("disk is too full to close the index: it stays open until there is room or the process ends")
	if err := db.Sync(); err != nil {
		s.log.Error("sync index", "error", err)
	}
	go s.closeLater(db)
	return nil
}

// closeBadger leaves behind what does not end in time: the lock that Badger has
// on the index keeps the next store from using it meanwhile.
func (s *Store) closeBadger(db *badger.DB) error {
	err := closeWithin(db, s.patience)
	if errors.Is(err, ErrLocked) {
		s.lost.Store(true)
	}
	return err
}

// closeWithin closes Badger, and is ErrLocked if that takes too long: it goes on
// in the background, and nobody may touch its files.
func closeWithin(db *badger.DB, patience time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- closed(db) }()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("not done after %v: it goes on in the background: %w", patience, ErrLocked)
	}
}

// closed closes Badger, and makes an error of a panic.
func closed(db *badger.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return db.Close()
}

// roomToClose makes room to close the index, if need be, as if it were not open.
func (s *Store) roomToClose() bool {
	enough := func() bool {
		s.space.forget()
		free, total := s.space.look()
		return free >= min(closeRoom, reserve(total))
	}
	return enough() || s.makeRoom(context.Background()) == nil || enough()
}

// closeLater touches nothing of the store but what it knows of the disk.
func (s *Store) closeLater(db *badger.DB) {
	for {
		time.Sleep(closeRetry)
		s.space.forget()
		if free, total := s.space.look(); free < min(closeRoom, reserve(total)) {
			continue
		}
		if err := closed(db); err != nil {
			s.log.Error("close index", "error", err)
		}
		return
	}
}
