package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Extent is the bytes [Start, End) of a blob.
type Extent struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Part is the file of a running fill. Its methods are safe for concurrent use.
//
// Nothing can be written any more once Publish was called. One of Commit, Suspend
// and Remove ends it, and another Part of the digest can begin. It can be read until
// Close.
type Part struct {
	store   *Store
	id      id
	origin  string // the upstream that it comes from, as in oci.Scope
	name    partName
	size    int64 // -1 = unknown
	file    file
	covered []Extent
	written atomic.Int64 // where what was written ends; of a part of unknown size only
	// reserved is what is promised to it and not written yet; held says that the file
	// system holds it back instead.
	reserved atomic.Int64
	held     bool

	// takeRoom takes the room for the whole, before the first byte. What was merely
	// asked for takes none, and nothing has to go for it.
	takeRoom func() error
	begun    atomic.Bool // it takes room
	stored   atomic.Bool // it is a blob by now, and counts as one

	saving saving

	// mu is held shared while writing and exclusively to seal the part, so that
	// no byte changes after it was verified.
	mu     sync.RWMutex
	sealed bool // nothing can be written any more
	ended  bool

	// ending is held by whoever seals, publishes or ends the part.
	ending sync.Mutex
	placed bool  // the blob is there
	moved  bool  // it is this file
	broken error // why it cannot be brought to the disk
}

// Part begins the part file of a blob of the given size, -1 = unknown, or
// reopens the one that was suspended. The blob will count to the upstream of the
// scope, unless it is there already. Only what that upstream has sent is gone on from.
// Until the part is ended, another of the upstream for the same digest is fs.ErrExist;
// those of other upstreams lie beside it. It is ErrNoSpace if the blob does not fit, whatever went, and
// ErrGone if the directory was removed: it can be served, but not be kept. Nothing is
// evicted for it before its first byte is written.
func (s *Store) Part(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (*Part, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("begin part of %s: %w", d, err)
	}
	defer s.leave()
	i, err := idOf(d)
	if err != nil {
		return nil, fmt.Errorf("begin part: %w", err)
	}
	p, err := s.openPart(scope, i, size)
	if err != nil {
		return nil, fmt.Errorf("begin part of %s: %w", d, err)
	}
	return p, nil
}

func (s *Store) openPart(scope oci.Scope, i id, size int64) (_ *Part, err error) {
	p := &Part{store: s, id: i, origin: scope.Upstream, size: max(size, -1)}
	p.saving.part, p.takeRoom = p, sync.OnceValue(p.begin)
	if !s.parts.add(p) {
		return nil, fs.ErrExist
	}
	defer func() {
		if err != nil {
			s.parts.end(p)
		}
	}()
	if err := s.admit(p.origin, size); err != nil {
		return nil, err
	}
	if err := s.inLayout(func() error { return s.openPartFile(p) }); err != nil {
		return nil, err
	}
	return p, nil
}

func (s *Store) openPartFile(p *Part) (err error) {
	err = s.choosePart(p)
	p.saving.covered = slices.Clone(p.covered)
	if err == nil {
		p.file, err = s.root.OpenFile(p.name.partPath(), os.O_RDWR, 0)
		return err
	}
	create := func() error {
		p.file, err = s.root.OpenFile(p.name.partPath(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			// Some file systems make it, and cannot say so. What stays is swept.
			_ = s.root.Remove(p.name.partPath())
		}
		return err
	}
	// Without a sidecar there is hardly ever anything to remove.
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.removePart(p.name); err != nil {
		return err
	}
	return create()
}

// Covered returns what a reopened part holds already: sorted, disjoint and not
// touching; empty for a new one.
func (p *Part) Covered() []Extent { return slices.Clone(p.covered) }

// WriteAt writes to the part. It is fs.ErrClosed once the part is ended, and
// wraps syscall.ENOSPC on a full disk; what was written before stays readable. The
// first one waits until there is room for the whole, if others can go for it.
func (p *Part) WriteAt(b []byte, off int64) (int, error) {
	if err := p.takeRoom(); err != nil {
		return 0, fmt.Errorf("write part of %s: %w", p.id.digest(), err)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.sealed {
		return 0, fmt.Errorf("write part of %s: %w", p.id.digest(), fs.ErrClosed)
	}
	if err := p.spend(off, len(b)); err != nil {
		return 0, fmt.Errorf("write part of %s: %w", p.id.digest(), err)
	}
	n, err := p.file.WriteAt(b, off)
	if err == nil {
		err = p.saving.wrote(Extent{off, off + int64(n)})
	}
	if err != nil {
		return n, fmt.Errorf("write part of %s: %w", p.id.digest(), p.store.fullFor(p.size, err))
	}
	return n, nil
}

// ReadAt reads from the part, as an io.ReaderAt does. What was not written yet
// reads as zeros or as io.EOF.
func (p *Part) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.file.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read part of %s: %w", p.id.digest(), err)
	}
	return n, err
}

// Reopen opens the file another time, for reading, with a position of its own. It is
// the caller's to close, and stays readable whatever becomes of the part. Where the
// system cannot open a file again that may have no name any more, it is an error.
func (p *Part) Reopen() (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", p.file.bare().Fd()))
	if err != nil {
		return nil, fmt.Errorf("reopen part of %s: %w", p.id.digest(), err)
	}
	return f, nil
}
