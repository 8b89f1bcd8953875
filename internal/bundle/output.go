package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// partial is behind the name of what is not complete.
const partial = ".partial"

// Output is a bundle that comes to its place all at once: by Commit, or not at all.
// Until then it lies beside that, under a name that ends in ".partial"; what a
// process that died has left there is written over.
type Output struct {
	*Writer

	name string // where it goes
	file *os.File
	root *os.Root // nil = the file is the bundle
}

// CheckOutput returns an error unless Create knows what to write at name.
func CheckOutput(name string) error {
	_, err := kindOf(name)
	return err
}

// Create begins a bundle: name.tar, name.tar.zst, or, if name ends with a slash or is
// a folder that is empty, a folder. A private one is for its owner's eyes only, from
// the first byte on. The caller calls Commit or Discard.
func Create(name string, private bool) (*Output, error) {
	o, err := create(name, private)
	if err != nil {
		return nil, fmt.Errorf("write bundle %s: %w", name, err)
	}
	return o, nil
}

func create(name string, private bool) (*Output, error) {
	kind, err := kindOf(name)
	if err != nil {
		return nil, err
	}
	o := &Output{name: filepath.Clean(name)}
	// The name of a link means what it leads to.
	if followed, err := filepath.EvalSymlinks(o.name); err == nil {
		o.name = followed
	}
	if kind == kindFolder {
		return o, o.createFolder(private)
	}
	if o.file, err = lockPartial(o.name+partial, private, func(name string) (*os.File, error) {
		return os.OpenFile(name, os.O_RDWR|os.O_CREATE, modeOf(private))
	}); err != nil {
		return nil, err
	}
	if err := o.file.Truncate(0); err != nil {
		return nil, errors.Join(err, o.Discard())
	}
	if kind == kindTar {
		o.Writer = NewWriter(o.file)
		return o, nil
	}
	// The number is fixed, so that the bytes do not depend on the machine.
	z, err := zstd.NewWriter(o.file, zstd.WithEncoderConcurrency(2))
	if err != nil {
		return nil, errors.Join(err, o.Discard())
	}
	w := NewWriter(z)
	w.to = &zstdTarget{w.to, z}
	o.Writer = w
	return o, nil
}

// modeOf returns the permissions of files.
func modeOf(private bool) fs.FileMode {
	if private {
		return 0o600
	}
	return 0o644
}

func (o *Output) createFolder(private bool) (err error) {
	name := o.name + partial
	mode := modeOf(private)
	if o.file, err = lockPartial(name, private, func(name string) (*os.File, error) {
		// Everybody who may read the folder may enter it.
		if err := os.Mkdir(name, mode|mode&0o444>>2); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		return os.Open(name)
	}); err != nil {
		return err
	}
	if o.root, err = os.OpenRoot(name); err == nil {
		err = clearFolder(o.root)
	}
	if err != nil {
		return errors.Join(err, o.Discard())
	}
	o.Writer = newWriter(&folderTarget{o.root, mode})
	return nil
}

func clearFolder(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}

type kind int

const (
	kindTar kind = iota
	kindZstd
	kindFolder
)

func kindOf(name string) (kind, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, err
	case err == nil && info.IsDir():
		entries, err := os.ReadDir(name)
		if err != nil {
			return 0, err
		}
		if len(entries) > 0 {
			return 0, errors.New("the folder is not empty: name another, or remove what is in it")
		}
		return kindFolder, nil
	case strings.HasSuffix(name, "/"):
		return kindFolder, nil
	case err == nil && !info.Mode().IsRegular():
		return 0, fmt.Errorf("it is there and no file, but %v: use - for standard output", info.Mode().Type())
	case strings.HasSuffix(name, ".tar"):
		return kindTar, nil
	case strings.HasSuffix(name, ".tar.zst"), strings.HasSuffix(name, ".tzst"):
		return kindZstd, nil
	}
	return 0, errors.New("want the name of a .tar or a .tar.zst, or of a folder with a slash at its end")
}

// lockPartial opens a file that only one process at a time writes. What an earlier
// one has left there, others may have open: it does not become private.
func lockPartial(name string, private bool, open func(string) (*os.File, error)) (*os.File, error) {
	for {
		f, err := open(name)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = errors.New("another process is writing it")
			}
			return nil, errors.Join(err, f.Close())
		}
		// Whoever had it may have brought it to its place meanwhile.
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Lstat(name); err == nil && os.SameFile(mine, there) {
			if !private || mine.Mode()&0o077 == 0 {
				return f, nil
			}
			if err := os.RemoveAll(name); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// Commit brings the bundle to its place. Close was called before.
func (o *Output) Commit() error {
	err := o.file.Sync()
	if err == nil {
		err = o.replace()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write bundle %s: %w", o.name, err), o.Discard())
	}
	return o.close()
}

func (o *Output) replace() error {
	if o.root != nil {
		// An empty folder is replaced, any other is not.
		if err := os.Remove(o.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(o.name+partial, o.name); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(o.name))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// Discard removes what was written.
func (o *Output) Discard() error {
	return errors.Join(os.RemoveAll(o.name+partial), o.close())
}

func (o *Output) close() error {
	var err error
	if o.root != nil {
		err = o.root.Close()
	}
	return errors.Join(err, o.file.Close())
}

// zstdTarget ends the compression with the tar.
type zstdTarget struct {
	target

	z *zstd.Encoder
}

func (t *zstdTarget) close() error { return errors.Join(t.target.close(), t.z.Close()) }
