package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Part is the file of a running fill. Its methods are safe for concurrent use.
//
// Nothing can be written any more once Publish was called. One of Commit, Suspend
// and Remove ends it, and another Part of the digest can begin. It can be read until
// Close.
type Part struct {
	parts   *parts
	id      volume.ID
	origin  string // the upstream that it comes from, as in oci.Scope
	name    volume.PartName
	size    int64 // -1 = unknown
	file    volume.File
	covered oci.Extents
	space   *volume.Reservation
	claim   volume.Claim

	// takeRoom takes the room for the whole, before the first byte. What was merely
	// asked for takes none, and nothing has to go for it.
	takeRoom func() error
	begun    atomic.Bool // it takes room

	saving saving

	gate   gate
	ending ending
}

// gate lets writes to a part in, until it is sealed: so that no byte changes after it
// was verified.
type gate struct {
	mu     sync.RWMutex // held shared while writing
	sealed bool         // nothing can be written any more
	ended  bool
}

// seal waits for the writes that are under way, and lets none begin. It reports
// false if the part is ended.
func (g *gate) seal() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed = true
	return !g.ended
}

// end ends the part where it stands.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed, g.ended = true, true
}

func (g *gate) isSealed() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.sealed
}

// ending is what became of a part. It is locked by whoever seals, publishes or ends it,
// while the files are moved: one alone decides about them, and nobody else waits for it.
type ending struct {
	sync.Mutex

	placed bool  // the blob is there
	moved  bool  // it is this file
	broken error // why it cannot be brought to the disk
}

// Covered returns what a reopened part holds already: sorted, disjoint and not
// touching; empty for a new one.
func (p *Part) Covered() oci.Extents { return slices.Clone(p.covered) }

// WriteAt writes to the part. It is fs.ErrClosed once the part is ended, and
// wraps syscall.ENOSPC on a full disk; what was written before stays readable. The
// first one waits until there is room for the whole, if others can go for it.
func (p *Part) WriteAt(b []byte, off int64) (int, error) {
	if err := p.takeRoom(); err != nil {
		return 0, fmt.Errorf("write part of %s: %w", p.id.Digest(), err)
	}
	p.gate.mu.RLock()
	defer p.gate.mu.RUnlock()
	if p.gate.sealed {
		return 0, fmt.Errorf("write part of %s: %w", p.id.Digest(), fs.ErrClosed)
	}
	if err := p.space.Spend(off, len(b)); err != nil {
		return 0, fmt.Errorf("write part of %s: %w", p.id.Digest(), p.parts.full(-1, err))
	}
	n, err := p.file.WriteAt(b, off)
	if err == nil {
		err = p.saving.wrote(off, off+int64(n))
	}
	if err != nil {
		return n, fmt.Errorf("write part of %s: %w", p.id.Digest(), p.parts.full(p.size, err))
	}
	return n, nil
}

// ReadAt reads from the part, as an io.ReaderAt does. What was not written yet
// reads as zeros or as io.EOF.
func (p *Part) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.file.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read part of %s: %w", p.id.Digest(), err)
	}
	return n, err
}

// Reopen opens the file another time, for reading, with a position of its own. It is
// the caller's to close, and stays readable whatever becomes of the part. Where the
// system cannot open a file again that may have no name any more, it is an error.
func (p *Part) Reopen() (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", p.file.Bare().Fd()))
	if err != nil {
		return nil, fmt.Errorf("reopen part of %s: %w", p.id.Digest(), err)
	}
	return f, nil
}

// reserve takes the room for the part: of the file system, or where that holds nothing
// back, of the account of its space. It waits until there is room on the disk for what
// is left, and is ErrNoSpace if what is there cannot go.
func (p *Part) reserve() error {
	limits := p.parts.limits
	p.begun.Store(true)
	if !limits.Demand().None() {
		// What has to go for it goes while it comes.
		limits.Soon()
	}
	left := max(p.size-p.covered.Total(), -1)
	err := p.parts.queue.Await(func() error {
		err := p.space.Take(left)
		if err != nil && limits.Yields(left) {
			limits.Want(left)
		}
		return err
	})
	if err != nil || p.size <= 0 {
		return p.parts.unstored.note(p.size, err, p.parts.now())
	}
	return p.parts.full(p.size, p.space.Allocate(p.file))
}
