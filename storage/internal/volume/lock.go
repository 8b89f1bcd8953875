package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrLocked means that another store, of this process or another, has the
// directory open.
var ErrLocked = errors.New("storage is locked")

var errHeld = errors.New("lock is held")

// lockRetry is how often a held lock is tried again. The usual holder is an
// earlier store of this process that is closing: 2 to 200 ms.
const lockRetry = 20 * time.Millisecond

// Lock takes the lock of the directory, and waits for it as long as wait.
// The lock goes when the file is closed.
func Lock(ctx context.Context, root Files, wait time.Duration) (File, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		f, err := tryLock(root)
		if err == nil {
			// The number is only a courtesy to who finds the directory locked.
			_ = writePID(f)
			return f, nil
		}
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		select {
		case <-time.After(lockRetry):
		case <-timeout.C:
			return nil, heldBy(root)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", heldBy(root), ctx.Err())
		}
	}
}

// tryLock locks the file LOCK, or on a disk that takes no more files the directory
// itself. Not all file systems lock directories.
func tryLock(root Files) (File, error) {
	f, err := root.OpenFile(lockFileName, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, syscall.EROFS):
		if f, err = root.Open(lockFileName); errors.Is(err, fs.ErrNotExist) {
			return lockDirectory(root)
		}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return lockDirectory(root)
	}
	if err != nil {
		return nil, err
	}
	if err = f.Lock(); err == nil {
		var dir File
		if dir, err = root.Open("."); err == nil {
			if err = dir.Lock(); !errors.Is(err, errHeld) {
				err = nil
			}
			dir.Close()
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockDirectory locks the directory, unless there is a file LOCK by now.
func lockDirectory(root Files) (File, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	if err = dir.Lock(); err == nil {
		if _, lerr := root.Lstat(lockFileName); !errors.Is(lerr, fs.ErrNotExist) {
			err = errHeld
		}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func writePID(f File) error {
	// Always as long, and in place: a full disk has nothing to refuse.
	_, err := fmt.Fprintf(f, "%-10d\n", os.Getpid())
	return err
}

// LockedError is an ErrLocked that knows which process has the lock.
type LockedError struct {
	PID int // 0 = not known
}

// Error says what to do about it.
func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID > 0 {
		holder = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("%v by %s: stop that one or give each a directory of its own; "+
		"to change a running server's configuration, reload it", ErrLocked, holder)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

func heldBy(root Files) error {
	held := &LockedError{}
	if raw, err := root.ReadFile(lockFileName); err == nil {
		held.PID, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
	}
	return held
}
