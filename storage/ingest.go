package storage

import (
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// maxIdle is how long a suspended part is kept.
const maxIdle = 24 * time.Hour

// parts are the parts that are not ended. The zero value has none.
type parts struct {
	mu      sync.Mutex
	running map[volume.ID][]*Part
}

// add gives p a name. It reports whether p is the only one of its digest and upstream.
func (ps *parts) add(p *Part) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.name = p.id.PartName()
	for _, other := range ps.running[p.id] {
		if other.origin == p.origin {
			return false
		}
		if other.name == p.name {
			p.name = p.id.PartNameOf(p.origin)
		}
	}
	if ps.running == nil {
		ps.running = make(map[volume.ID][]*Part)
	}
	ps.running[p.id] = append(ps.running[p.id], p)
	return true
}

// rename gives p another name, before it has files.
func (ps *parts) rename(p *Part, name volume.PartName) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.name = name
}

func (ps *parts) end(p *Part) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.running[p.id] = slices.DeleteFunc(ps.running[p.id], func(other *Part) bool { return other == p })
	if len(ps.running[p.id]) == 0 {
		delete(ps.running, p.id)
	}
}

func (ps *parts) count() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	n := 0
	for _, of := range ps.running {
		n += len(of)
	}
	return n
}

// announced returns how large the running parts are going to be that have their first
// byte, as far as that is known, or how large they are.
func (ps *parts) announced() (t volume.Tally) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, of := range ps.running {
		for _, p := range of {
			if p.begun.Load() && !p.claim.Fulfilled() {
				t.AddBytes(p.origin, p.space.Known())
			}
		}
	}
	return t
}

// has reports whether a part of the digest is running.
func (ps *parts) has(i volume.ID) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	_, ok := ps.running[i]
	return ok
}

// unlessRunning calls fn unless a part of the digest is running, and lets none
// begin meanwhile.
func (ps *parts) unlessRunning(i volume.ID, fn func() error) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if _, ok := ps.running[i]; ok {
		return nil
	}
	return fn()
}

// abandon ends all parts where they stand, so that nothing is written to files
// that the next store of the directory may be using. That goes on from there.
func (ps *parts) abandon() (err error) {
	ps.mu.Lock()
	running := ps.running
	ps.running = nil
	ps.mu.Unlock()
	for _, of := range running {
		for _, p := range of {
			p.abandon()
			err = errors.Join(err, p.keep())
		}
	}
	return err
}

// sidecar stands beside a suspended part and says what it holds. It stays when
// the part is reopened: what it says remains true.
type sidecar struct {
	Digest digest.Digest `json:"digest"`
	// Origin is the upstream that sent the bytes, as in oci.Scope. It is empty of parts
	// from before that was written down: nobody goes on from them.
	Origin    string   `json:"origin,omitempty"`
	Size      int64    `json:"size"` // -1 = unknown
	Covered   []Extent `json:"covered"`
	Suspended int64    `json:"suspended"` // unix seconds
	// Boot is the run of the kernel in which this is true: what is covered was not
	// brought to the disk. Empty = it was.
	Boot string `json:"boot,omitempty"`
}

func (p *Part) suspend(covered []Extent) error {
	if len(covered) == 0 || p.placed {
		return p.remove()
	}
	err := func() error {
		info, err := p.file.Stat()
		if err != nil {
			return err
		}
		if !valid(covered, p.size, info.Size()) {
			return errors.New("extents are not sorted and disjoint within what was written")
		}
		// Space that was allocated behind the last byte is given back.
		if err := p.file.Truncate(covered[len(covered)-1].End); err != nil {
			return err
		}
		if err := errors.Join(p.broken, p.file.Datasync()); err != nil {
			return err
		}
		return volume.WriteFile(p.store.root, p.name.SidecarPath(), p.sidecar(covered, p.size, ""))
	}()
	if err != nil {
		return errors.Join(err, p.remove())
	}
	return nil
}

// valid reports whether extents are sorted, disjoint and not empty, within the
// size (-1 = unknown) and the length of the file.
func valid(covered []Extent, size, length int64) bool {
	var end int64
	for n, e := range covered {
		if e.Start < end || n > 0 && e.Start == end || e.End <= e.Start {
			return false
		}
		end = e.End
	}
	return end <= length && (size < 0 || end <= size)
}

// sweepParts removes parts that are neither running nor were suspended after
// the given time, and whatever else lies in the directory.
func (s *Store) sweepParts(before time.Time) error {
	entries, err := s.root.ReadDir(volume.IngestDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		i, err := volume.IDOfIngest(e.Name())
		if err != nil {
			errs = append(errs, s.root.RemoveAll(path.Join(volume.IngestDir, e.Name())))
			continue
		}
		errs = append(errs, s.parts.unlessRunning(i, func() error {
			if strings.HasSuffix(e.Name(), volume.Temporary) {
				return s.root.Remove(path.Join(volume.IngestDir, e.Name()))
			}
			name := volume.PartNameIn(e.Name())
			// One of a time to come is as good as of now.
			if c, err := s.readSidecar(name); err == nil && min(c.Suspended, s.now().Unix()) > before.Unix() {
				if _, _, err := s.suspended(name, -1); err == nil {
					return nil
				}
			}
			return s.removePart(name)
		}))
	}
	return errors.Join(errs...)
}
