package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// files is the directory of a store, and the only way in which the store touches
// it but for Badger, which has ways of its own. Names are below the root, with
// slashes, and lead nowhere else. It is an interface so that tests can make each
// call fail, and forget what was not brought to the disk; osFiles is what serves.
type files interface {
	// Open opens a file for reading, or a directory to be locked.
	Open(name string) (file, error)
	OpenFile(name string, flag int, perm fs.FileMode) (file, error)
	ReadFile(name string) ([]byte, error)
	// ReadDir returns the entries sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Lstat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	Rename(old, name string) error
	Remove(name string) error
	RemoveAll(name string) error
	// volume returns the bytes that are free to us, and all bytes, of the file
	// system. It can be asked after Close, too.
	volume() (free, total int64, err error)
	// inodes returns the same of inodes; total is 0 if there is no such limit.
	inodes() (free, total int64, err error)
	// bootID tells one run of the kernel from another; empty = unknown.
	bootID() string
	Close() error
}

// file is a file of files.
type file interface {
	io.ReaderAt
	io.Reader
	io.WriterAt
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Chmod(mode fs.FileMode) error
	// datasync brings the bytes of the file, and its length, to the disk.
	datasync() error
	// allocate takes the space that the file will need, so that a disk that is
	// too small says so at once. A file system that cannot do it is no error,
	// but reported.
	allocate(size int64) (taken bool, err error)
	// lock takes the lock of the file without waiting; errHeld if another open
	// file has it, of this process or another.
	lock() error
	// syncVolume brings all that was written to the file system to the disk.
	syncVolume() (done bool, err error)
	// dropPages says that the file will not be read again soon: what is only
	// looked through must not push out what is in use.
	dropPages()
	// bare is the file itself, for who sends it: the kernel can do that alone.
	bare() *os.File
}

// osFiles are the files of the operating system. No name leads out of the root,
// not even by a symbolic link.
type osFiles struct {
	*os.Root

	dir *os.File // the root again, for openBeneath
}

func openFiles(path string) (osFiles, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return osFiles{}, err
	}
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return osFiles{}, err
	}
	return osFiles{root, dir}, nil
}

func (r osFiles) Close() error { return errors.Join(r.dir.Close(), r.Root.Close()) }

// Open has the kernel walk the name, where it can. A Root opens and closes each
// directory on the way itself, which is most of what it takes to open a blob.
func (r osFiles) Open(name string) (file, error) {
	if f, err := openBeneath(r.dir, name, r.Name()+"/"+name); err == nil {
		return osFile{f}, nil
	}
	// Also to tell what is wrong.
	return r.OpenFile(name, os.O_RDONLY, 0)
}

func (r osFiles) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := r.Root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (r osFiles) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.FS(), name) }
func (r osFiles) volume() (free, total int64, err error)     { return volume(r.Name()) }
func (r osFiles) inodes() (free, total int64, err error)     { return inodes(r.Name()) }
func (r osFiles) bootID() string                             { return bootID() }

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) datasync() error                             { return datasync(f.File) }
func (f osFile) allocate(size int64) (taken bool, err error) { return allocate(f.File, size) }
func (f osFile) lock() error                                 { return lockFile(f.File) }
func (f osFile) syncVolume() (done bool, err error)          { return syncVolume(f.File) }
func (f osFile) dropPages()                                  { dropPages(f.File) }
func (f osFile) bare() *os.File                              { return f.File }
