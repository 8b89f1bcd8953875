package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// content is where a layout lies that can be read in any order.
type content interface {
	// open opens an entry of the layout: fs.ErrNotExist if there is none.
	open(name string) (io.ReadCloser, int64, error)
	// locate returns the name under which it really lies there.
	locate(name string) string
	io.Closer
}

// anyOrder reads a layout whose parts can be had in any order.
type anyOrder struct {
	content content
	index   Index
	ledger  *ledger
	entry   io.Closer // the blob that was handed out last
	m, b    int       // how many manifests and blobs were handed out
}

// newLayout reads a layout.
func newLayout(c content) (*anyOrder, error) {
	raw, err := readEntry(c, layoutName, maxLayoutFile)
	if err != nil {
		return nil, err
	}
	if err := checkLayout(raw); err != nil {
		return nil, err
	}
	if raw, err = readEntry(c, indexName, maxIndex); err != nil {
		return nil, err
	}
	index, err := decodeIndex(raw)
	if err != nil {
		return nil, err
	}
	return newAnyOrder(c, index), nil
}

func newAnyOrder(c content, x Index) *anyOrder { return &anyOrder{content: c, index: x} }

func readEntry(c content, name string, most int64) ([]byte, error) {
	r, size, err := c.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(name, "", "it is missing")
	}
	if err != nil {
		return nil, broken(name, "", err)
	}
	defer r.Close()
	return readSmall(name, r, size, most)
}

// Index implements Reader.
func (a *anyOrder) Index() *Index { return &a.index }

// Size implements Reader. It is known once all manifests were handed out.
func (a *anyOrder) Size() int64 {
	if a.ledger == nil || a.m < len(a.ledger.manifests) {
		return -1
	}
	var size int64
	for _, w := range a.ledger.blobs[a.b:] {
		size += max(w.size, 0)
	}
	return size
}

// Next implements Reader.
func (a *anyOrder) Next() (*Entry, error) {
	if err := a.closeEntry(); err != nil {
		return nil, err
	}
	if a.ledger == nil {
		var err error
		if a.ledger, err = newLedger(&a.index); err != nil {
			return nil, err
		}
	}
	for {
		var w *wanted
		switch {
		case a.m < len(a.ledger.manifests):
			w = a.ledger.manifests[a.m]
			a.m++
		case a.b < len(a.ledger.blobs):
			w = a.ledger.blobs[a.b]
			a.b++
		default:
			if err := a.ledger.end(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		e, err := a.next(w)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return e, err
	}
}

func (a *anyOrder) next(w *wanted) (*Entry, error) {
	name := blobName(w.digest)
	r, size, err := a.content.open(name)
	name = a.content.locate(name)
	if err != nil {
		return nil, broken(name, w.digest, err)
	}
	if err := a.ledger.enter(w, name, size); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if w.manifest {
		defer r.Close()
		return a.ledger.manifest(w, name, r)
	}
	a.entry = r
	return a.ledger.blob(w, name, r), nil
}

func (a *anyOrder) closeEntry() error {
	if a.entry == nil {
		return nil
	}
	err := a.entry.Close()
	a.entry = nil
	return err
}

// Close implements Reader.
func (a *anyOrder) Close() error { return errors.Join(a.closeEntry(), a.content.Close()) }

// folder is a layout in a directory. Links are not followed.
type folder struct{ root *os.Root }

func openFolder(name string) (*folder, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &folder{root}, nil
}

func (f *folder) open(name string) (io.ReadCloser, int64, error) {
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		info, err := f.root.Lstat(parent)
		if err != nil {
			return nil, 0, err
		}
		if !info.IsDir() {
			return nil, 0, damaged(parent, "", "it is no folder, but %v", info.Mode().Type())
		}
	}
	info, err := f.root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, damaged(name, digestOf(name), "it is no file, but %v", info.Mode().Type())
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func (f *folder) locate(name string) string { return name }

func (f *folder) Close() error { return f.root.Close() }

// isFolder reports whether a path is a directory.
func isFolder(name string) (bool, error) {
	info, err := os.Stat(name)
	if err != nil {
		return false, fmt.Errorf("open bundle: %w", err)
	}
	return info.IsDir(), nil
}
