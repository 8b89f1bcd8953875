package storage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// maxIdle is how long a suspended part is kept.
const maxIdle = 24 * time.Hour

// parts are the parts that are not ended, and the files of the suspended ones. Its
// methods are safe for concurrent use.
type parts struct {
	files      *partFiles
	space      *volume.Space
	layout     *layout
	life       *life.Life
	log        *slog.Logger
	now        func() time.Time
	save       time.Duration // see saveEvery
	limits     *eviction.Budget
	queue      *eviction.Queue
	judge      *integrity.Judge
	durability *integrity.Durability
	table      index.BlobTable
	unstored   unstored

	mu      sync.Mutex
	running map[volume.ID][]*Part
}

// begin begins a part, or reopens the one that was suspended.
func (ps *parts) begin(scope oci.Scope, i volume.ID, size int64) (_ *Part, err error) {
	size = max(size, -1)
	p := &Part{parts: ps, id: i, origin: scope.Upstream, size: size, space: ps.space.Part(size)}
	p.saving.part, p.takeRoom = p, sync.OnceValue(p.reserve)
	if !ps.add(p) {
		return nil, fs.ErrExist
	}
	defer func() {
		if err != nil {
			ps.end(p)
		}
	}()
	if err := ps.limits.Admit(p.origin, size); err != nil {
		return nil, ps.unstored.note(size, err, ps.now())
	}
	if err := ps.layout.within(func() error { return ps.open(p) }); err != nil {
		return nil, err
	}
	return p, nil
}

// full asks for room for a blob of size bytes if err says that the disk is full, and
// returns err.
func (ps *parts) full(size int64, err error) error {
	return ps.unstored.note(size, ps.limits.FullFor(size, err), ps.now())
}

// open opens the file of a part.
func (ps *parts) open(p *Part) (err error) {
	err = ps.choose(p)
	p.saving.covered = slices.Clone(p.covered)
	if err == nil {
		p.file, err = ps.files.root.OpenFile(p.name.PartPath(), os.O_RDWR, 0)
		return err
	}
	create := func() error {
		p.file, err = ps.files.root.OpenFile(p.name.PartPath(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			// Some file systems make it, and cannot say so. What stays is swept.
			_ = ps.files.root.Remove(p.name.PartPath())
		}
		return err
	}
	// Without a sidecar there is hardly ever anything to remove.
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := ps.remove(p.name); err != nil {
		return err
	}
	return create()
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
			p.gate.end()
			err = errors.Join(err, p.keep())
		}
	}
	return err
}
