package storage

import (
	"encoding/json"
	"errors"
	"io/fs"

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

// choose finds what is suspended of a part that is about to begin, or where it can
// begin: then it returns why there is nothing. What another upstream has sent stays for
// that one.
func (ps *parts) choose(p *Part) error {
	plain, own := p.id.PartName(), p.id.PartNameOf(p.origin)
	var err error
	if p.name == plain {
		var of string
		if p.covered, of, err = ps.suspended(plain, p.size); of == p.origin {
			return err
		}
		if errors.Is(err, fs.ErrNotExist) || of == "" {
			if covered, _, err := ps.suspended(own, p.size); err == nil {
				p.covered = covered
				ps.rename(p, own)
				return nil
			}
			p.covered = nil
			if err == nil {
				err = errNoPart // nobody knows whose it is
			}
			return err
		}
		ps.rename(p, own)
	}
	p.covered, _, err = ps.suspended(own, p.size)
	return err
}

// errNoPart means that there is a sidecar which speaks of no part that can be used.
var errNoPart = errors.New("no part that can be used")

// suspended returns what a suspended part of the size holds, and whose it is, where that
// is known. It is fs.ErrNotExist if there is not even a sidecar.
func (ps *parts) suspended(name volume.PartName, size int64) (covered oci.Extents, of string, err error) {
	c, err := ps.readSidecar(name)
	if err != nil {
		return nil, "", err
	}
	if size >= 0 && c.Size >= 0 && size != c.Size {
		return nil, c.Origin, errNoPart
	}
	info, err := ps.root.Lstat(name.PartPath())
	if err != nil || !info.Mode().IsRegular() || len(c.Covered) == 0 || !valid(c.Covered, max(size, c.Size), info.Size()) {
		return nil, "", errNoPart
	}
	return c.Covered, c.Origin, nil
}

func (ps *parts) readSidecar(name volume.PartName) (c sidecar, err error) {
	raw, err := ps.root.ReadFile(name.SidecarPath())
	if err != nil {
		return sidecar{}, err
	}
	i, err := volume.IDOfIngest(string(name))
	if err != nil {
		return sidecar{}, err
	}
	if json.Unmarshal(raw, &c) != nil || c.Digest != i.Digest() || c.Boot != "" && c.Boot != ps.root.BootID() {
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
	return errors.Join(errs...)
}
