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

// sidecars are the names of the parts that may have one, beside those on the disk. Most
// parts never do, and nobody else makes any: for those, the disk is not asked. It is safe
// for concurrent use.
type sidecars struct {
	root volume.Files

	mu    sync.Mutex
	names map[volume.PartName]bool // nil = any may
}

// look finds those that are there. The lock of the directory is held, and no part runs.
func (s *sidecars) look() {
	entries, err := s.root.ReadDir(volume.IngestDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = map[volume.PartName]bool{}
	for _, e := range entries {
		s.names[volume.PartNameIn(e.Name())] = true
	}
}

// may reports whether a part may have a sidecar.
func (s *sidecars) may(name volume.PartName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names == nil || s.names[name]
}

// write writes down what a part holds; soon means that it may get to the disk later.
func (s *sidecars) write(name volume.PartName, c sidecar, soon bool) error {
	s.note(name, true)
	if soon {
		return volume.WriteFileSoon(s.root, name.SidecarPath(), c)
	}
	return volume.WriteFile(s.root, name.SidecarPath(), c)
}

func (s *sidecars) note(name volume.PartName, may bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.names == nil:
	case may:
		s.names[name] = true
	default:
		delete(s.names, name)
	}
}

func (s *sidecars) read(name volume.PartName) (c sidecar, err error) {
	raw, err := s.root.ReadFile(name.SidecarPath())
	if err != nil {
		return sidecar{}, err
	}
	i, err := volume.IDOfIngest(string(name))
	if err != nil {
		return sidecar{}, err
	}
	if json.Unmarshal(raw, &c) != nil || c.Digest != i.Digest() || c.Boot != "" && c.Boot != s.root.BootID() {
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
	if !ps.sidecars.may(name) {
		return sidecar{}, fs.ErrNotExist
	}
	return ps.held(name, size)
}

// held returns what a suspended part of the size holds. It is fs.ErrNotExist if there is
// not even a sidecar. Where the part cannot be used, it tells whose it is, if that is known.
func (ps *parts) held(name volume.PartName, size int64) (sidecar, error) {
	c, err := ps.sidecars.read(name)
	if err != nil {
		return sidecar{}, err
	}
	if size >= 0 && c.Size >= 0 && size != c.Size {
		return c, errNoPart
	}
	info, err := ps.root.Lstat(name.PartPath())
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
		if err := ps.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		ps.sidecars.note(n, false)
	}
	return errors.Join(errs...)
}
