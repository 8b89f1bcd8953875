package storage

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// fault is what goes wrong at one operation. The zero value is nothing.
type fault struct {
	errno syscall.Errno
	on    bool // it goes wrong from then on, wherever it can
	late  bool // it is done, and said to have failed
	short bool // half is written
	crash bool // nothing is done any more, as if the process were gone
}

func (f fault) String() string {
	name := map[syscall.Errno]string{
		0: "", syscall.EIO: "EIO", syscall.ENOSPC: "ENOSPC", syscall.EDQUOT: "EDQUOT", syscall.EROFS: "EROFS", syscall.EMFILE: "EMFILE",
	}[f.errno]
	for _, word := range []struct {
		is   bool
		text string
	}{{f.crash, "crash"}, {f.short, "short"}, {f.late, "late"}, {f.on, "on"}} {
		if word.is {
			name += "-" + word.text
		}
	}
	return strings.TrimPrefix(name, "-")
}

// kind is what an operation does, which says how it can fail.
type kind int

const (
	walks   kind = 1 << iota // walks a path, and so takes descriptors
	changes                  // needs a file system that may be written
	grows                    // needs room
	writes                   // takes bytes
)

// fails reports whether an operation can fail this way.
func (f fault) fails(k kind) bool {
	if f.short && k&writes == 0 {
		return false
	}
	switch f.errno {
	case syscall.EMFILE:
		return k&walks != 0
	case syscall.EROFS:
		return k&changes != 0
	case syscall.ENOSPC, syscall.EDQUOT:
		return k&grows != 0
	}
	return f.crash || f.errno != 0
}

// operation is one call, told from others by its name: what is done to which
// file for which time, the same in each run whatever goes on beside it.
type operation struct {
	name string
	kind kind
}

// faulty is a directory that counts what is done to it, and fails where it is told.
type faulty struct {
	disk *disk
	real volume.Files
	boot string

	mu      sync.Mutex // held for the whole of each operation
	armed   bool
	at      string // the operation at which the fault strikes
	fault   fault
	struck  bool
	crashed func() // called once it crashed
	seen    map[string]int
	done    []operation
	open    int // files that were not closed
}

// over is the Options.over of a store whose files are these.
func (y *faulty) over(lower volume.Files) volume.Files {
	y.real = lower
	return y
}

// arm begins to count, and sets the fault.
func (y *faulty) arm(at string, f fault, crashed func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.armed, y.at, y.fault, y.struck, y.crashed = true, at, f, false, crashed
	y.seen, y.done = make(map[string]int), nil
	y.disk.settle()
}

// crash crashes it between two operations.
func (y *faulty) crash() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.struck = true
	y.crashed()
}

// disarm ends the fault, unless it is a crash. It returns what was done since arm, and
// whether the fault struck.
func (y *faulty) disarm() (done []operation, struck bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.armed = y.struck && y.fault.crash
	return y.done, y.struck
}

// failing reports whether everything fails from now on, or much of it.
func (y *faulty) failing() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.struck && (y.fault.on || y.fault.crash)
}

func (y *faulty) descriptors() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.open
}

var (
	sums  = regexp.MustCompile(`([0-9a-f]{6})[0-9a-f]{58}`)
	times = regexp.MustCompile(`\d{8}T\d{6}Z`)
)

// do does one operation, or lets it fail. half, if not nil, does half of it.
func (y *faulty) do(verb, name string, k kind, all func() error, half func() error) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.armed {
		return all()
	}
	key := verb + " " + times.ReplaceAllString(sums.ReplaceAllString(name, "$1"), "TIME")
	y.seen[key]++
	key = fmt.Sprintf("%s %d", key, y.seen[key])
	if y.struck && y.fault.crash {
		return &fs.PathError{Op: verb, Path: name, Err: syscall.EIO}
	}
	y.done = append(y.done, operation{key, k})
	strikes := key == y.at
	if goesOn := y.struck && y.fault.on && y.fault.fails(k); !strikes && !goesOn {
		return all()
	}
	y.struck = true
	if strikes && y.crashed != nil {
		y.crashed()
	}
	errno := y.fault.errno
	if y.fault.crash {
		errno = syscall.EIO
	}
	switch {
	case y.fault.short && half != nil:
		_ = half()
	case y.fault.late:
		if err := all(); err != nil {
			return err
		}
	}
	return &fs.PathError{Op: verb, Path: name, Err: errno}
}

func (y *faulty) Open(name string) (volume.File, error) { return y.OpenFile(name, os.O_RDONLY, 0) }

func (y *faulty) OpenFile(name string, flag int, perm fs.FileMode) (_ volume.File, err error) {
	k := walks
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		k |= changes
	}
	if _, err := y.real.Lstat(name); flag&os.O_CREATE != 0 && err != nil {
		k |= grows
	}
	f := &faultyFile{on: y, name: name}
	err = y.do("open", name, k, func() (err error) {
		if f.file, err = y.real.OpenFile(name, flag, perm); err == nil {
			y.open++
			f.inode = y.disk.open(name, flag)
		}
		return err
	}, nil)
	if err != nil {
		y.mu.Lock()
		defer y.mu.Unlock()
		_ = f.release() // of one that was opened all the same
		return nil, err
	}
	return f, nil
}

func (y *faulty) ReadFile(name string) (b []byte, err error) {
	err = y.do("read", name, walks, func() (err error) { b, err = y.real.ReadFile(name); return err }, nil)
	return b, err
}

func (y *faulty) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = y.do("list", name, walks, func() (err error) { entries, err = y.real.ReadDir(name); return err }, nil)
	return entries, err
}

func (y *faulty) Lstat(name string) (info fs.FileInfo, err error) {
	err = y.do("lstat", name, walks, func() (err error) { info, err = y.real.Lstat(name); return err }, nil)
	return info, err
}

func (y *faulty) MkdirAll(name string, perm fs.FileMode) error {
	return y.do("mkdir", name, walks|changes|grows, func() error {
		err := y.real.MkdirAll(name, perm)
		if err == nil {
			y.disk.mkdir(name)
		}
		return err
	}, nil)
}

func (y *faulty) Rename(old, name string) error {
	return y.do("rename", old+" "+name, walks|changes|grows, func() error {
		err := y.real.Rename(old, name)
		if err == nil {
			y.disk.rename(old, name)
		}
		return err
	}, nil)
}

func (y *faulty) Remove(name string) error {
	return y.do("remove", name, walks|changes, func() error {
		err := y.real.Remove(name)
		if err == nil {
			y.disk.remove(name)
		}
		return err
	}, nil)
}

func (y *faulty) RemoveAll(name string) error {
	return y.do("removeall", name, walks|changes, func() error {
		err := y.real.RemoveAll(name)
		if err == nil {
			y.disk.remove(name)
		}
		return err
	}, nil)
}

func (y *faulty) Bytes() (free, total int64, err error)  { return 1 << 50, 1 << 50, nil }
func (y *faulty) Inodes() (free, total int64, err error) { return 0, 0, nil }
func (y *faulty) BootID() string                         { return y.boot }
func (y *faulty) Close() error                           { return y.real.Close() }

// faultyFile is a file of faulty.
type faultyFile struct {
	on    *faulty
	name  string
	file  volume.File
	inode *inode
	off   int64 // where Write goes on
	given bool  // or closed
}

// release closes the file, if that was not done. on.mu is held.
func (f *faultyFile) release() error {
	if f.file == nil || f.given {
		return nil
	}
	f.given = true
	f.on.open--
	return f.file.Close()
}

func (f *faultyFile) do(verb string, k kind, all, half func() error) error {
	return f.on.do(verb, f.name, k, all, half)
}

func (f *faultyFile) Close() error {
	f.on.mu.Lock()
	closed := f.given
	err := f.release()
	f.on.mu.Unlock()
	if closed {
		return fs.ErrClosed
	}
	// It is closed, whatever else comes of it.
	return f.do("close", 0, func() error { return err }, nil)
}

func (f *faultyFile) Bare() *os.File {
	f.on.mu.Lock()
	defer f.on.mu.Unlock()
	f.given = true
	f.on.open--
	return f.file.Bare()
}

func (f *faultyFile) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.do("readat", 0, func() (err error) { n, err = f.file.ReadAt(b, off); return err }, nil)
	return n, err
}

func (f *faultyFile) Read(b []byte) (n int, err error) {
	err = f.do("readat", 0, func() (err error) { n, err = f.file.Read(b); return err }, nil)
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, off int64) (n int, err error) {
	some := func(b []byte) error {
		n, err := f.file.WriteAt(b, off)
		f.inode.write(b[:n], off)
		return err
	}
	half := func() error { n = len(b) / 2; return some(b[:n]) }
	err = f.do("write", changes|grows|writes, func() error { n = len(b); return some(b) }, half)
	return n, err
}

func (f *faultyFile) Write(b []byte) (n int, err error) {
	some := func(b []byte) error {
		n, err := f.file.Write(b)
		f.inode.write(b[:n], f.off)
		f.off += int64(n)
		return err
	}
	half := func() error { n = len(b) / 2; return some(b[:n]) }
	err = f.do("write", changes|grows|writes, func() error { n = len(b); return some(b) }, half)
	return n, err
}

func (f *faultyFile) Stat() (info fs.FileInfo, err error) {
	err = f.do("stat", 0, func() (err error) { info, err = f.file.Stat(); return err }, nil)
	return info, err
}

func (f *faultyFile) Truncate(size int64) error {
	return f.do("truncate", changes, func() error {
		f.inode.truncate(size)
		return f.file.Truncate(size)
	}, nil)
}

func (f *faultyFile) Chmod(mode fs.FileMode) error {
	return f.do("chmod", changes, func() error { return f.file.Chmod(mode) }, nil)
}

// Datasync leaves the real disk alone: what would be on it is known. Where it
// fails, what was not on the disk is lost, also to who asks again.
func (f *faultyFile) Datasync() error {
	synced := false
	err := f.do("sync", changes|grows, func() error { synced = true; f.inode.sync(); return nil }, nil)
	f.on.mu.Lock()
	defer f.on.mu.Unlock()
	if !synced && !f.on.fault.crash {
		f.inode.lose(f.file)
	}
	return err
}

func (f *faultyFile) Allocate(size int64) (taken bool, err error) {
	err = f.do("allocate", changes|grows, func() (err error) { taken, err = f.file.Allocate(size); return err }, nil)
	return taken, err
}

func (f *faultyFile) Lock() error { return f.do("lock", 0, f.file.Lock, nil) }

func (f *faultyFile) SyncVolume() (done bool, err error) {
	err = f.do("syncvolume", changes, func() error { done = true; f.on.disk.settle(); return nil }, nil)
	return done && err == nil, err
}

func (f *faultyFile) DropPages() {}
