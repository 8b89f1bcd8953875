package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

const (
	// logSuffix ends the name of a log, logHead is more than what Badger writes to
	// one before the writer does.
	logSuffix = ".mem"
	logHead   = 4 << 10
	// logStep is by how much the space of a log grows.
	logStep = 2 << 20
)

// logs takes the space for what Badger is about to write to the log of its
// memtable: a sparse file that is written through a mapping, where a full disk is
// answered with a SIGBUS. When Badger goes on to the next log, only Badger knows
// before; so that one is made here, too. It is not a byte long, which Badger takes
// for a file that it has made itself, and it has an inode and the space to begin
// with. Only the writer uses it.
type logs struct {
	root          files
	current, next *memLog
	last          int64 // bytes that were secured last
}

// memLog is the log of a memtable.
type memLog struct {
	file
	number  int64
	written int64 // no less than its bytes
	taken   int64 // bytes that have their space
}

// secure takes the space for n bytes, and counts them as written. It is
// ErrNoSpace if there is not enough.
func (l *logs) secure(n int64) error {
	err := l.follow()
	for _, log := range []*memLog{l.current, l.next} {
		if err == nil {
			err = log.take(n)
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrNoSpace
	case err != nil:
		return fmt.Errorf("take space for the log of the index: %w", err)
	}
	l.current.written += n
	l.last = n
	return nil
}

// take takes the space for n more bytes.
func (l *memLog) take(n int64) error {
	n += l.written
	if n <= l.taken {
		return nil
	}
	n += logStep - n%logStep
	// Where a file system cannot do it, the reserve has to be enough.
	if _, err := l.allocate(n); err != nil {
		return err
	}
	l.taken = n
	return nil
}

// follow finds the log that is written to, and makes the next.
func (l *logs) follow() (err error) {
	if l.current == nil {
		if l.current, err = l.newest(); err != nil {
			return err
		}
	}
	if l.next != nil {
		info, err := l.next.Stat()
		if err != nil || info.Size() == 0 {
			return err
		}
		// It was begun with the last transaction.
		l.next.written += l.last
		l.current.Close()
		l.current, l.next = l.next, nil
	}
	l.next, err = l.open(l.current.number+1, os.O_CREATE)
	return err
}

// newest opens the log with the greatest number.
func (l *logs) newest() (*memLog, error) {
	names, err := named(l.root, metaDir, logSuffix)
	if err != nil {
		return nil, err
	}
	number := int64(-1)
	for _, name := range names {
		if n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(name), logSuffix), 10, 64); err == nil {
			number = max(number, n)
		}
	}
	return l.open(number, 0)
}

func (l *logs) open(number int64, flag int) (*memLog, error) {
	f, err := l.root.OpenFile(fmt.Sprintf("%s/%05d%s", metaDir, number, logSuffix), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &memLog{file: f, number: number, written: logHead}, nil
}

// close lets go of the files. The next log, of no byte yet, is removed when the
// index is closed, or opened again.
func (l *logs) close() {
	for _, log := range []*memLog{l.current, l.next} {
		if log != nil {
			log.Close()
		}
	}
}
