package storage

import (
	"errors"
	"syscall"
)

// begin takes the room for the part: of the file system, or where that holds nothing
// back, of the account of its space.
func (p *Part) begin() error {
	s := p.store
	p.begun.Store(true)
	if !s.demand(*s.limits.Load()).none() {
		// What has to go for it goes while it comes.
		s.keepHouseNow()
	}
	left := p.size
	for _, e := range p.covered {
		left -= e.End - e.Start
	}
	if err := s.makeRoomFor(p, max(left, -1)); err != nil {
		return err
	}
	if p.size <= 0 {
		return nil
	}
	taken, err := p.file.allocate(p.size)
	if p.held = err == nil && taken; p.held {
		s.space.forget()
		p.release()
	}
	return s.fullFor(p.size, err)
}

// makeRoomFor waits until there is room on the disk for what is left of a part whose
// first byte has come, -1 = of unknown size, and reserves it. It returns ErrNoSpace if
// what is there cannot go.
func (s *Store) makeRoomFor(p *Part, left int64) error {
	return s.await(func() error {
		err := s.space.take(left)
		switch {
		case err == nil:
			p.reserved.Store(max(left, 0))
		case s.yields(left):
			s.want(left)
		}
		return err
	})
}

// yields reports whether what is stored may go for a blob that an upstream announces.
func (s *Store) yields(size int64) bool {
	used := s.usage.used()
	return used > 0 && size <= used/announcedShare
}

// spend accounts for a write. It returns ErrNoSpace if it would take what the index
// needs.
func (p *Part) spend(off int64, bytes int) error {
	if p.held {
		return nil
	}
	s := p.store
	if p.size < 0 {
		for end, old := off+int64(bytes), p.written.Load(); old < end && !p.written.CompareAndSwap(old, end); old = p.written.Load() {
		}
	}
	for left := p.reserved.Load(); left > 0; left = p.reserved.Load() {
		if now := min(left, int64(bytes)); p.reserved.CompareAndSwap(left, left-now) {
			s.space.promise(-now)
			break
		}
	}
	s.space.spend(bytes)
	return s.fullFor(-1, s.space.room())
}

// release gives back what was reserved and not written.
func (p *Part) release() { p.store.space.promise(-p.reserved.Swap(0)) }

// fullFor asks for room for a blob of size bytes if err says that the disk is
// full, and returns err.
func (s *Store) fullFor(size int64, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		s.space.forget()
		s.want(size)
	}
	return err
}
