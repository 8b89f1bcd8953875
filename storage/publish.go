package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// Publish makes the bytes outlive the process, before anybody is given the last of
// them: the caller has verified size and digest. Where the limits have room, the
// part becomes the finished blob at once, and its record is written. Elsewhere what
// stands beside the part says that it is complete. Nothing is brought to the disk,
// and nobody waits for room: Commit does both, and tries again what failed here.
func (p *Part) Publish(size int64) {
	s := p.parts
	if s.life.Enter(context.Background()) != nil {
		return
	}
	defer s.life.Leave()
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.gate.seal() || !p.saving.sound() {
		return
	}
	var err error
	if s.judge.Recorded(p.id, size) || s.limits.Claim(&p.claim, p.origin, size) {
		err = p.place(size)
	} else {
		s.limits.Soon()
		err = p.complete(size)
	}
	if err != nil {
		s.log.Debug("part is not published yet", "digest", p.id.Digest(), "error", err)
	}
}

// Commit makes the part the finished blob, unless Publish did, and brings it to the
// disk. The caller has verified size and digest of its bytes. Where a limit has been
// reached, it waits until others were evicted; it is ErrNoSpace if that does not make
// room. If the blob is there and recorded already, it stays and the part goes.
// Whatever the error, the part is ended and gone, but readable.
func (p *Part) Commit(size int64) error {
	return p.endCall("commit", func() error { return p.commit(size) })
}

// Suspend keeps the part for a later Store.Part, with what the caller knows to be
// covered. With nothing covered, it is removed.
func (p *Part) Suspend(covered oci.Extents) error {
	return p.endCall("suspend", func() error { return p.suspend(covered) })
}

// Remove removes the part.
func (p *Part) Remove() error { return p.endCall("remove", p.remove) }

// Close closes the descriptor. A part that was not ended is removed.
func (p *Part) Close() error {
	// A part that was ended, by its owner or by the store's Close, is none to
	// remove.
	err := p.Remove()
	if errors.Is(err, fs.ErrClosed) || errors.Is(err, ErrClosed) {
		err = nil
	}
	return errors.Join(err, p.file.Close())
}

func (p *Part) endCall(verb string, last func() error) error {
	err := p.parts.life.Within(context.Background(), func() error { return p.end(last) })
	if err != nil {
		return fmt.Errorf("%s part of %s: %w", verb, p.id.Digest(), err)
	}
	return nil
}

// end does the last thing that is done with a part.
func (p *Part) end(last func() error) error {
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.gate.seal() {
		return fs.ErrClosed
	}
	p.gate.end()
	_, p.ending.broken = p.saving.end()
	defer p.parts.end(p)
	defer func() {
		p.space.Release()
		p.parts.limits.Drop(&p.claim)
	}()
	return last()
}

func (p *Part) commit(size int64) error {
	s := p.parts
	if !p.ending.placed {
		err := p.ending.broken
		if err == nil {
			err = p.makeWay(size)
		}
		if err == nil {
			err = p.place(size)
		}
		if err != nil {
			return errors.Join(err, p.remove())
		}
	}
	// After a sync error the kernel may have dropped what it could not write: the
	// file is not to be trusted again.
	if err := errors.Join(p.ending.broken, p.file.Datasync()); err != nil {
		return errors.Join(err, p.withdraw(), p.remove())
	}
	if p.ending.moved {
		s.durability.Synced()
	}
	if err := p.remove(); err != nil {
		s.log.Warn("remove what is left of a part", "digest", p.id.Digest(), "error", err)
	}
	if !s.limits.Demand().None() {
		s.limits.Soon()
	}
	return nil
}

// makeWay waits until a verified blob fits into the limits. Whoever reads it has
// all of it already. It returns ErrNoSpace if what is there cannot go.
func (p *Part) makeWay(size int64) error {
	if p.parts.judge.Recorded(p.id, size) {
		return nil
	}
	err := p.parts.queue.Await(func() error {
		if p.parts.limits.Claim(&p.claim, p.origin, size) {
			return nil
		}
		return ErrNoSpace
	})
	return p.parts.unstored.note(size, err, p.parts.now())
}

// place makes the part a finished blob of the file system, and records it. One that
// is there already stays.
func (p *Part) place(size int64) error {
	s := p.parts
	if s.judge.Trusts(p.id, size) {
		p.ending.placed = true
		return nil
	}
	if err := p.move(size); err != nil {
		return err
	}
	p.ending.placed, p.ending.moved = true, true
	s.unstored.placed(size)
	s.durability.Placed()
	r := index.Blob{Size: size, Created: s.now(), Origin: p.origin}
	if err := s.table.Add(p.id, r, &p.claim); err != nil {
		s.log.Warn("blob is stored but not recorded; it will be adopted", "digest", p.id.Digest(), "error", err)
		s.judge.Suspects.Trust(p.id)
	}
	return nil
}

// move moves the part to its place.
func (p *Part) move(size int64) error {
	root, blob := p.parts.files.root, p.id.BlobPath()
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		return fmt.Errorf("part has %d bytes of %d", info.Size(), size)
	}
	if info.Size() > size {
		if err := p.file.Truncate(size); err != nil {
			return err
		}
	}
	if err := p.file.Chmod(0o444); err != nil {
		return err
	}
	return p.parts.judge.Place(p.id, func() error {
		err := root.Rename(p.name.PartPath(), blob)
		if errors.Is(err, fs.ErrNotExist) {
			if err := root.MkdirAll(path.Dir(blob), 0o700); err != nil {
				return err
			}
			err = root.Rename(p.name.PartPath(), blob)
		}
		if err != nil {
			// Some file systems do it, and cannot say so.
			if now, lerr := root.Lstat(blob); lerr == nil && os.SameFile(now, info) {
				err = nil
			}
		}
		return err
	})
}

// withdraw takes away what was placed, if it still is there.
func (p *Part) withdraw() error {
	if !p.ending.moved {
		return nil
	}
	err := p.parts.judge.Withdraw(p.id, p.file)
	if err == nil {
		p.parts.durability.Synced()
	}
	return err
}

// complete writes down that the part is complete.
func (p *Part) complete(size int64) error {
	p.saving.sidecar.Lock()
	defer p.saving.sidecar.Unlock()
	return p.parts.files.write(p.name, p.sidecar(oci.Extents{{End: size}}, size, p.parts.files.root.BootID()), true)
}

func (p *Part) remove() error { return p.parts.remove(p.name) }

func (p *Part) suspend(covered oci.Extents) error {
	if len(covered) == 0 || p.ending.placed {
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
		if err := errors.Join(p.ending.broken, p.file.Datasync()); err != nil {
			return err
		}
		return p.parts.files.write(p.name, p.sidecar(covered, p.size, ""), false)
	}()
	if err != nil {
		return errors.Join(err, p.remove())
	}
	return nil
}
