package volume

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Files is the directory of a store, and the only way in which the store touches
// it, except for the database of its index. Names are below the root, with
// slashes, and lead nowhere else. It is an interface so that tests can make each
// call fail, and forget what was not brought to the disk; osFiles is what serves.
type Files interface {
	// Open opens a file for reading, or a directory to be locked.
	Open(name string) (File, error)
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadFile(name string) ([]byte, error)
	// ReadDir returns the entries sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Lstat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	Rename(old, name string) error
	Remove(name string) error
	RemoveAll(name string) error
	// Bytes returns the bytes that are free to us, and all bytes, of the file
	// system. It can be asked after Close, too.
	Bytes() (free, total int64, err error)
	// Inodes returns the same of inodes; total is 0 if there is no such limit.
	Inodes() (free, total int64, err error)
	// BootID tells one run of the kernel from another; empty = unknown.
	BootID() string
	Close() error
}

// File is a file of Files.
type File interface {
	io.ReaderAt
	io.Reader
	io.WriterAt
	io.Writer
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Chmod(mode fs.FileMode) error
	// Datasync brings the bytes of the file, and its length, to the disk.
	Datasync() error
	// Allocate takes the space that the file will need, so that a disk that is
	// too small says so at once. A file system that cannot do it is no error,
	// but reported.
	Allocate(size int64) (taken bool, err error)
	// Lock takes the lock of the file without waiting; errHeld if another open
	// file has it, of this process or another.
	Lock() error
	// SyncVolume brings all that was written to the file system to the disk.
	SyncVolume() (done bool, err error)
	// DropPages says that the file will not be read again soon: what is only
	// looked through must not push out what is in use.
	DropPages()
	// Bare is the file itself, for sending it: the kernel can do that alone.
	Bare() *os.File
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
func (r osFiles) Open(name string) (File, error) {
	if f, err := openBeneath(r.dir, name, r.Name()+"/"+name); err == nil {
		return osFile{f}, nil
	}
	// Also to tell what is wrong.
	return r.OpenFile(name, os.O_RDONLY, 0)
}

func (r osFiles) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := r.Root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (r osFiles) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.FS(), name) }
func (r osFiles) Bytes() (free, total int64, err error)      { return bytesOf(r.Name()) }
func (r osFiles) Inodes() (free, total int64, err error)     { return inodesOf(r.Name()) }
func (r osFiles) BootID() string                             { return bootID() }

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Datasync() error                             { return datasync(f.File) }
func (f osFile) Allocate(size int64) (taken bool, err error) { return allocate(f.File, size) }
func (f osFile) Lock() error                                 { return lockFile(f.File) }
func (f osFile) SyncVolume() (done bool, err error)          { return syncVolume(f.File) }
func (f osFile) DropPages()                                  { dropPages(f.File) }
func (f osFile) Bare() *os.File                              { return f.File }
