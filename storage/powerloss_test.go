package storage

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// disk knows what of a directory is on the disk, and what only in memory. Changes
// of names get there in the order they are made, each some time later; bytes only
// if they are brought there, or by chance. Badger's own directory is left out.
type disk struct {
	names   map[string]*inode
	settled map[string]*inode // names as they are on the disk for certain
	changes []func(map[string]*inode)
}

// inode is a file or a directory.
type inode struct {
	dir    bool
	data   []byte // as the process sees it
	synced []byte // as it is on the disk for certain
	dirty  oci.Extents
}

// indexName reports whether a name is that of an index, or below one.
func indexName(name string) bool {
	return name == volume.MetaDir || strings.HasPrefix(name, volume.MetaDir+"/") || strings.HasPrefix(name, index.BadMeta)
}

// loadDisk returns a disk on which everything is that lies in a directory.
func loadDisk(dir string) (*disk, error) {
	d := &disk{names: make(map[string]*inode)}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if indexName(name) {
			return fs.SkipDir
		}
		n := &inode{dir: entry.IsDir()}
		if !n.dir {
			if n.data, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		d.names[name] = n
		return nil
	})
	d.settle()
	return d, err
}

// settle brings everything to the disk.
func (d *disk) settle() {
	d.settled, d.changes = maps.Clone(d.names), nil
	for _, n := range d.names {
		n.sync()
	}
}

// change makes a change of names now, and on the disk later.
func (d *disk) change(how func(map[string]*inode)) {
	how(d.names)
	d.changes = append(d.changes, how)
}

func (d *disk) mkdir(name string) {
	for ; name != "."; name = path.Dir(name) {
		if _, ok := d.names[name]; !ok && !indexName(name) {
			made := name
			// Parents are made first.
			defer d.change(func(names map[string]*inode) { names[made] = &inode{dir: true} })
		}
	}
}

// open returns the file of a name, new if there is none.
func (d *disk) open(name string, flag int) *inode {
	n, ok := d.names[name]
	switch {
	case !ok:
		n = &inode{}
		if flag&os.O_CREATE != 0 && !indexName(name) {
			d.change(func(names map[string]*inode) { names[name] = n })
		}
	case flag&os.O_TRUNC != 0:
		n.truncate(0)
	}
	return n
}

func (d *disk) rename(old, name string) {
	if !indexName(old) {
		d.change(func(names map[string]*inode) {
			names[name] = names[old]
			delete(names, old)
		})
	}
}

// remove removes a name and all below it.
func (d *disk) remove(name string) {
	if !indexName(name) {
		d.change(func(names map[string]*inode) {
			maps.DeleteFunc(names, func(other string, _ *inode) bool { return other == name || strings.HasPrefix(other, name+"/") })
		})
	}
}

func (n *inode) write(b []byte, off int64) {
	end := off + int64(len(b))
	if int64(len(n.data)) < end {
		n.truncate(end)
	}
	copy(n.data[off:], b)
	n.dirty = append(n.dirty, oci.Extent{Start: off, End: end})
}

func (n *inode) truncate(size int64) {
	data := make([]byte, size)
	old := int64(copy(data, n.data))
	if n.data = data; old < size {
		n.dirty = append(n.dirty, oci.Extent{Start: old, End: size})
	}
}

func (n *inode) sync() { n.synced, n.dirty = append([]byte(nil), n.data...), nil }

// lose drops what was written since the last sync, as a kernel does that could
// not write it. Nobody will hear of it again.
func (n *inode) lose(f volume.File) {
	for _, e := range n.dirty {
		e.End = min(e.End, int64(len(n.data)))
		if e.Start < e.End {
			clear(n.data[e.Start:e.End])
			_, _ = f.WriteAt(n.data[e.Start:e.End], e.Start)
		}
	}
}

// luck says what becomes of bytes that were not brought to the disk.
type luck string

const (
	kept    luck = "kept"
	lost    luck = "lost"  // with them goes what they made longer
	zeros   luck = "zeros" // their place is there
	garbage luck = "garbage"
)

// after returns the bytes of a file after the power failed.
func (n *inode) after(l luck, random *rand.ChaCha8) []byte {
	if l == lost {
		return n.synced
	}
	data := append([]byte(nil), n.data...)
	for _, e := range n.dirty {
		e.End = min(e.End, int64(len(data)))
		if l == kept || e.Start >= e.End {
			continue
		}
		if clear(data[e.Start:e.End]); l == garbage {
			_, _ = random.Read(data[e.Start:e.End])
		}
	}
	return data
}

// after makes in dir what the disk holds after the power failed: the names after
// so many of the changes that were not settled. It returns which names there are.
func (d *disk) after(dir string, changes int, l luck) (map[string]*inode, error) {
	names := maps.Clone(d.settled)
	for _, change := range d.changes[:changes] {
		change(names)
	}
	random := rand.NewChaCha8([32]byte{byte(changes)})
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(names)) {
		target := filepath.Join(dir, name)
		if names[name].dir {
			errs = append(errs, os.MkdirAll(target, 0o700))
		} else {
			errs = append(errs, os.WriteFile(target, names[name].after(l, random), 0o600))
		}
	}
	return names, errors.Join(errs...)
}
