package index

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// closeRoom is more than what Badger writes when it is closed: its memtable,
	// as a table, through a mapping.
	closeRoom = 48 << 20
	// closeRetry is how often a disk that is too full to close the index is
	// looked at again.
	closeRetry = time.Second
	// ClosePatience is how long Close waits for Badger, which tries again and
	// again for ever what it cannot write; openPatience how long opening does for
	// one that has just failed.
	ClosePatience = 10 * time.Second
	openPatience  = 2 * time.Second
)

// Close closes the index, once nothing is asked of it any more. It reports false if the
// index is not on the disk in full. On a disk that is too full to close it safely, where
// makeRoom does not help, that is left to a goroutine that waits for room: what the index
// holds is in its log, and there the next process finds it.
func (x *Index) Close(makeRoom func() error) (closed bool, err error) {
	if err := x.Gone(); err != nil {
		return false, fmt.Errorf("close index: %w", err)
	}
	db := x.db.Load()
	if enough := x.roomToClose; enough() || makeRoom() == nil || enough() {
		if err := x.closeDB(db); err != nil {
			return false, fmt.Errorf("close index: %w", err)
		}
		// Beside the log that the writer has made in advance, nobody can read the index
		// without writing.
		if err := removeEmpty(x.Root); err != nil {
			x.Log.Warn("remove the next log of the index", "error", err)
		}
		return true, nil
	}
	x.Log.Error("disk is too full to close the index: it stays open until there is room or the process ends")
	if err := db.Sync(); err != nil {
		x.Log.Error("sync index", "error", err)
	}
	go x.closeLater(db)
	return false, nil
}

// closeDB leaves behind what does not end in time: the lock that Badger has on the index
// keeps the next store from using it meanwhile.
func (x *Index) closeDB(db *badger.DB) error {
	err := closeWithin(db, x.Patience)
	if errors.Is(err, volume.ErrLocked) {
		x.Leave()
	}
	return err
}

// Release closes Badger where Close has left it behind.
func (x *Index) Release() error { return closed(x.db.Load()) }

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
		return fmt.Errorf("not done after %v: it goes on in the background: %w", patience, volume.ErrLocked)
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

// roomToClose reports whether there is room to close the index.
func (x *Index) roomToClose() bool {
	x.Space.Forget()
	free, total := x.Space.Look()
	return free >= min(closeRoom, volume.Reserve(total))
}

// closeLater touches nothing of the store but what it knows of the disk.
func (x *Index) closeLater(db *badger.DB) {
	for {
		time.Sleep(closeRetry)
		if !x.roomToClose() {
			continue
		}
		if err := closed(db); err != nil {
			x.Log.Error("close index", "error", err)
		}
		return
	}
}
