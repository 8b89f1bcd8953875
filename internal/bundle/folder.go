package bundle

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// content is where a layout lies that can be read in any order.
type content interface {
	// open opens an entry of the layout: fs.ErrNotExist if there is none.
	open(name string) (piece, error)
	io.Closer
}

// piece is an entry that is open, under the name that it really has.
type piece struct {
	io.ReadCloser

	name string
	size int64
}

// anyOrder reads a layout whose entries can be read in any order.
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
	return &anyOrder{content: c, index: index}, nil
}

func readEntry(c content, name string, most int64) ([]byte, error) {
	p, err := c.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(name, "", "it is missing")
	}
	if err != nil {
		return nil, broken(name, "", err)
	}
	defer p.Close()
	return readSmall(name, p, p.size, most)
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
	p, err := a.content.open(blobName(w.digest))
	if err != nil {
		return nil, broken(blobName(w.digest), w.digest, err)
	}
	if err := a.ledger.enter(w, p.name, p.size); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if w.manifest {
		defer p.Close()
		return a.ledger.manifest(w, p.name, p)
	}
	a.entry = p
	return a.ledger.blob(w, p.name, p), nil
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

func (f folder) open(name string) (piece, error) {
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		info, err := f.root.Lstat(parent)
		if err != nil {
			return piece{}, err
		}
		if !info.IsDir() {
			return piece{}, damaged(parent, "", "it is no folder, but %v", info.Mode().Type())
		}
	}
	info, err := f.root.Lstat(name)
	if err != nil {
		return piece{}, err
	}
	if !info.Mode().IsRegular() {
		return piece{}, damaged(name, digestOf(name), "it is no file, but %v", info.Mode().Type())
	}
	file, err := f.root.Open(name)
	if err != nil {
		return piece{}, err
	}
	return piece{file, name, info.Size()}, nil
}

func (f folder) Close() error { return f.root.Close() }
