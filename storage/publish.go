package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Publish makes the bytes outlive the process, before anybody is given the last of
// them: the caller has verified size and digest. Where the limits have room, the
// part becomes the finished blob at once, and its record is written. Elsewhere what
// stands beside the part says that it is complete. Nothing is brought to the disk,
// and nobody waits for room: Commit does both, and tries again what failed here.
func (p *Part) Publish(size int64) {
	s := p.store
	if s.enter(context.Background()) != nil {
		return
	}
	defer s.leave()
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.seal() || !p.saving.sound() {
		return
	}
	var err error
	if s.recordedAs(p.id, size) || s.usage.claim(s.limits.Load(), p, size) {
		err = p.place(size)
	} else {
		s.keepHouseNow()
		err = p.complete(size)
	}
	if err != nil {
		s.log.Debug("part is not published yet", "digest", p.id.digest(), "error", err)
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
func (p *Part) Suspend(covered []Extent) error {
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
	err := p.store.enter(context.Background())
	if err == nil {
		err = p.end(last)
		p.store.leave()
	}
	if err != nil {
		return fmt.Errorf("%s part of %s: %w", verb, p.id.digest(), err)
	}
	return nil
}

// seal waits for the writes that are under way, and lets none begin. It reports
// false if the part is ended.
func (p *Part) seal() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealed = true
	return !p.ended
}

// end does the last thing that is done with a part.
func (p *Part) end(last func() error) error {
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.seal() {
		return fs.ErrClosed
	}
	p.abandon()
	_, p.broken = p.saving.end()
	defer p.store.parts.end(p)
	defer func() {
		p.release()
		p.store.usage.drop(p)
		if !p.stored.Load() {
			p.store.usage.withdrawn.Add(1)
		}
	}()
	return last()
}

// abandon ends the part where it stands.
func (p *Part) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealed, p.ended = true, true
}

func (p *Part) commit(size int64) error {
	s := p.store
	if !p.placed {
		err := p.broken
		if err == nil {
			err = s.makeWay(p, size)
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
	if err := errors.Join(p.broken, p.file.datasync()); err != nil {
		return errors.Join(err, p.withdraw(), p.remove())
	}
	if p.moved {
		s.unsynced.Add(-1)
	}
	if err := p.remove(); err != nil {
		s.log.Warn("remove what is left of a part", "digest", p.id.digest(), "error", err)
	}
	if !s.demand(*s.limits.Load()).none() {
		s.keepHouseNow()
	}
	return nil
}

// recordedAs reports whether a blob of the size is there already, as far as the index
// knows.
func (s *Store) recordedAs(i id, size int64) bool {
	r, known := s.blobRecord(i)
	return known && r.size == size
}

// place makes the part a finished blob of the file system, and records it. One that
// is there already stays.
func (p *Part) place(size int64) error {
	s := p.store
	if s.recordedAs(p.id, size) && s.trusts(p.id, size) {
		p.placed = true
		return nil
	}
	if err := p.move(size); err != nil {
		return err
	}
	p.placed, p.moved = true, true
	s.unsynced.Add(1)
	r := blobRecord{size: size, created: s.now(), origin: p.origin}
	if err := s.index.offer(context.Background(), linkBytes, func(b *batch) error {
		b.tally.parts = append(b.tally.parts, p)
		return b.putBlob(p.id, r)
	}); err != nil {
		s.log.Warn("blob is stored but not recorded; it will be adopted", "digest", p.id.digest(), "error", err)
		s.suspects.trust(p.id)
	}
	return nil
}

// trusts reports whether there is a file of the size that can be opened, and need not be verified. One
// without a record, or in doubt, may be anything.
func (s *Store) trusts(i id, size int64) bool {
	f, info, err := s.blobFile(i)
	if err != nil {
		return false
	}
	f.Close()
	return info.Size() == size && !s.suspects.doubt(i, info, true)
}

// move moves the part to its place.
func (p *Part) move(size int64) error {
	root, blob := p.store.root, p.id.blobPath()
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
	p.store.placing.Lock()
	defer p.store.placing.Unlock()
	err = root.Rename(p.name.partPath(), blob)
	if errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(path.Dir(blob), 0o700); err != nil {
			return err
		}
		err = root.Rename(p.name.partPath(), blob)
	}
	if err != nil {
		// Some file systems do it, and cannot say so.
		if now, lerr := root.Lstat(blob); lerr == nil && os.SameFile(now, info) {
			err = nil
		}
	}
	if err == nil {
		p.store.suspects.absolve(p.id)
	}
	return err
}

// withdraw takes away what was placed, if it still is there. What cannot be taken away
// is condemned: a look at it tells later what it is.
func (p *Part) withdraw() error {
	s := p.store
	if !p.moved {
		return nil
	}
	s.placing.Lock()
	defer s.placing.Unlock()
	info, err := p.file.Stat()
	if err == nil {
		err = s.unchanged(p.id, info)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.unsynced.Add(-1)
		return nil
	}
	s.suspects.condemn(p.id)
	s.dropRecord(p.id)
	if err == nil {
		err = s.unlinkBlob(p.id)
	}
	if err != nil {
		s.recheckSoon()
		return err
	}
	s.suspects.absolve(p.id)
	s.unsynced.Add(-1)
	return nil
}

// complete writes down that the part is complete.
func (p *Part) complete(size int64) error {
	p.saving.sidecar.Lock()
	defer p.saving.sidecar.Unlock()
	return writeFileSoon(p.store.root, p.name.sidecarPath(), p.sidecar([]Extent{{0, size}}, size, p.store.root.bootID()))
}

func (p *Part) remove() error { return p.store.removePart(p.name) }
