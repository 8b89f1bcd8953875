package bundle

import (
	"cmp"
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
}

// anyOrder is a source whose entries can be read in any order.
type anyOrder struct {
	content content
	m, b    int // how many manifests and blobs were handed out
}

// newLayout reads a layout.
func newLayout(c content) (*Reader, error) {
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
	return &Reader{index: index, source: &anyOrder{content: c}}, nil
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

// left implements source. It is known once all manifests were handed out.
func (a *anyOrder) left(l *ledger) int64 {
	if a.m < len(l.manifests) {
		return -1
	}
	var size int64
	for _, w := range l.blobs[a.b:] {
		size += max(w.size, 0)
	}
	return size
}

// next implements source.
func (a *anyOrder) next(l *ledger) (*wanted, piece, error) {
	for {
		var w *wanted
		switch {
		case a.m < len(l.manifests):
			w = l.manifests[a.m]
			a.m++
		case a.b < len(l.blobs):
			w = l.blobs[a.b]
			a.b++
		default:
			return nil, piece{}, cmp.Or(l.end(), io.EOF)
		}
		p, err := a.content.open(blobName(w.digest))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			err = broken(blobName(w.digest), w.digest, err)
		}
		return w, p, err
	}
}

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
