package storage

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// sidecar stands beside a suspended part and says what it holds. It stays when
// the part is reopened: what it says remains true.
type sidecar struct {
	Digest digest.Digest `json:"digest"`
	// Origin is the upstream that sent the bytes, as in oci.Scope. It is empty of parts
	// from before that was written down: nobody goes on from them.
	Origin    string      `json:"origin,omitempty"`
	Size      int64       `json:"size"` // -1 = unknown
	Covered   oci.Extents `json:"covered"`
	Suspended int64       `json:"suspended"` // unix seconds
	// Boot is the run of the kernel in which this is true: what is covered was not
	// brought to the disk. Empty = it was.
	Boot string `json:"boot,omitempty"`
}

// valid reports whether extents are sorted, disjoint and not empty, within the
// size (-1 = unknown) and the length of the file.
func valid(covered oci.Extents, size, length int64) bool {
	var end int64
	for n, e := range covered {
		if e.Start < end || n > 0 && e.Start == end || e.End <= e.Start {
			return false
		}
		end = e.End
	}
	return end <= length && (size < 0 || end <= size)
}

// partFiles are the files of parts. It knows which may have a sidecar: most never do, and
// nobody else makes any, so the disk is not asked for one. It is safe for concurrent use.
type partFiles struct {
	root volume.Files

	mu    sync.Mutex
	names map[volume.PartName]bool // that may have a sidecar; nil = any
}

// look finds those that are there. The lock of the directory is held, and no part runs.
func (f *partFiles) look() {
	entries, err := f.root.ReadDir(volume.IngestDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = map[volume.PartName]bool{}
	for _, e := range entries {
		f.names[volume.PartNameIn(e.Name())] = true
	}
}

// may reports whether a part may have a sidecar.
func (f *partFiles) may(name volume.PartName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names == nil || f.names[name]
}

// write writes down what a part holds; soon means that it may get to the disk later.
func (f *partFiles) write(name volume.PartName, c sidecar, soon bool) error {
	f.note(name, true)
	if soon {
		return volume.WriteFileSoon(f.root, name.SidecarPath(), c)
	}
	return volume.WriteFile(f.root, name.SidecarPath(), c)
}

func (f *partFiles) note(name volume.PartName, may bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.names == nil:
	case may:
		f.names[name] = true
	default:
		delete(f.names, name)
	}
}

func (f *partFiles) read(name volume.PartName) (c sidecar, err error) {
	raw, err := f.root.ReadFile(name.SidecarPath())
	if err != nil {
		return sidecar{}, err
	}
	i, err := volume.IDOfIngest(string(name))
	if err != nil {
		return sidecar{}, err
	}
	if json.Unmarshal(raw, &c) != nil || c.Digest != i.Digest() || c.Boot != "" && c.Boot != f.root.BootID() {
		return sidecar{}, errNoPart
	}
	return c, nil
}

// choose finds what is suspended of a part that is about to begin, or where it can
// begin: then it returns why there is nothing. What another upstream has sent stays for
// that one.
func (ps *parts) choose(p *Part) error {
	plain, own := p.id.PartName(), p.id.PartNameOf(p.origin)
	if p.name == plain {
		c, err := ps.suspended(plain, p.size)
		switch {
		case c.Origin == p.origin && err == nil:
			p.covered = c.Covered
			return nil
		case c.Origin == p.origin:
			return err
		case errors.Is(err, fs.ErrNotExist), c.Origin == "":
			if c, err := ps.suspended(own, p.size); err == nil {
				p.covered = c.Covered
				ps.rename(p, own)
				return nil
			}
			return cmp.Or(err, errNoPart) // nobody knows whose it is
		}
		ps.rename(p, own)
	}
	c, err := ps.suspended(own, p.size)
	if err == nil {
		p.covered = c.Covered
	}
	return err
}

// errNoPart means that there is a sidecar which speaks of no part that can be used.
var errNoPart = errors.New("no part that can be used")

// suspended is held for a part that may never have been suspended.
func (ps *parts) suspended(name volume.PartName, size int64) (sidecar, error) {
	if !ps.files.may(name) {
		return sidecar{}, fs.ErrNotExist
	}
	return ps.held(name, size)
}

// held returns what a suspended part of the size holds. It is fs.ErrNotExist if there is
// not even a sidecar. Where the part cannot be used, it tells whose it is, if that is known.
func (ps *parts) held(name volume.PartName, size int64) (sidecar, error) {
	c, err := ps.files.read(name)
	if err != nil {
		return sidecar{}, err
	}
	if size >= 0 && c.Size >= 0 && size != c.Size {
		return c, errNoPart
	}
	info, err := ps.files.root.Lstat(name.PartPath())
	if err != nil || !info.Mode().IsRegular() || len(c.Covered) == 0 || !valid(c.Covered, max(size, c.Size), info.Size()) {
		return sidecar{}, errNoPart
	}
	return c, nil
}

// remove removes the files of a part. What is gone is no error.
func (ps *parts) remove(n volume.PartName) error {
	var errs []error
	// The sidecar goes first: it must not speak of the next part.
	for _, name := range []string{n.SidecarPath(), n.SidecarPath() + volume.Temporary, n.PartPath()} {
		if err := ps.files.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		ps.files.note(n, false)
	}
	return errors.Join(errs...)
}
