package volume

import (
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"
)

// ErrNoSpace means that nothing is written because too little space would be
// left on the file system. It wraps syscall.ENOSPC.
var ErrNoSpace = fmt.Errorf("too little free space: %w", syscall.ENOSPC)

// spaceAge is how old a look at the file system may be, and spaceSpent how many
// bytes may be written by ourselves since.
const (
	spaceAge   = 250 * time.Millisecond
	spaceSpent = 4 << 20
	// Of the inodes of a file system one in a hundred is left free, but no fewer and
	// no more than these.
	leastInodes = 16
	mostInodes  = 1000
)

// ErrNoInodes is ErrNoSpace where there are bytes, but no more files can be made.
var ErrNoInodes = fmt.Errorf("%w: too few inodes are free", ErrNoSpace)

// Space is the one account of the file system that the store lies on: what was free
// when last looked at, what was written since, and what is promised to parts for which
// the file system holds nothing back. Safe for concurrent use.
type Space struct {
	bytes  func() (free, total int64, err error)
	inodes func() (free, total int64, err error)

	mu          sync.Mutex
	looked      time.Time
	spent       int64
	free, total int64
	reserved    int64
	// freeInodes are the free inodes, of all that the file system has; allInodes is 0
	// where it makes them as it goes.
	freeInodes, allInodes int64
}

// NewSpace returns the account of a file system that the functions measure: the free
// and all bytes, and the free and all inodes.
func NewSpace(bytes, inodes func() (free, total int64, err error)) *Space {
	return &Space{bytes: bytes, inodes: inodes}
}

// Measure has another function measure the bytes.
func (s *Space) Measure(bytes func() (free, total int64, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.looked = bytes, time.Time{}
}

// Look returns the free and all bytes, as of the last 250 ms.
func (s *Space) Look() (free, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookLocked()
}

func (s *Space) lookLocked() (free, total int64) {
	if s.looked.IsZero() || time.Since(s.looked) > spaceAge {
		s.looked, s.spent = time.Now(), 0
		var err error
		if s.free, s.total, err = s.bytes(); err != nil {
			// Not to know is no reason to stop writing.
			s.free, s.total = math.MaxInt64, math.MaxInt64
		}
		if s.freeInodes, s.allInodes, err = s.inodes(); err != nil {
			s.freeInodes, s.allInodes = 0, 0
		}
	}
	return s.free, s.total
}

// Unreserved is look without what was written since, and what is promised to parts.
func (s *Space) Unreserved() (free, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, total = s.lookLocked()
	return free - s.spent - s.reserved, total
}

// promise reserves so many bytes, less if that is negative.
func (s *Space) promise(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved += bytes
}

// Inodes returns the free and all inodes, as look does bytes, and whether the
// free ones are so few that they are left to the index: its next file needs one.
func (s *Space) Inodes() (free, total int64, scarce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked()
	return s.freeInodes, s.allInodes, s.inodesLowLocked()
}

func (s *Space) inodesLowLocked() bool {
	return s.allInodes > 0 && s.freeInodes < min(max(s.allInodes/100, leastInodes), mostInodes)
}

// Forget makes the next look a fresh one.
func (s *Space) Forget() {
	s.mu.Lock()
	s.looked = time.Time{}
	s.mu.Unlock()
}

// Spend makes the next look a fresh one if much is written.
func (s *Space) Spend(bytes int) {
	s.mu.Lock()
	if s.spent += int64(bytes); s.spent >= spaceSpent {
		s.looked = time.Time{}
	}
	s.mu.Unlock()
}

// Reserve is the space that is kept for the index, which is written through mapped
// sparse files and needs some for each flush: 1 % of the file system, but 64 to
// 512 MiB, and a quarter of a very small one.
func Reserve(total int64) int64 {
	return min(max(total/100, 64<<20), 512<<20, total/4)
}

// Floor is the free space below which no blob is taken in: twice the reserve,
// so that blobs stop long before the index has to.
func Floor(total int64) int64 { return 2 * Reserve(total) }

// CheckReserve returns ErrNoSpace if the index must not be written.
func (s *Space) CheckReserve() error {
	if free, total := s.Look(); free < Reserve(total) {
		return ErrNoSpace
	}
	return nil
}

// CheckFloor returns ErrNoSpace if there is no room for a blob of size bytes; -1 =
// unknown.
func (s *Space) CheckFloor(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkFloorLocked(size)
}

// take is CheckFloor, and reserves it.
func (s *Space) take(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.checkFloorLocked(size)
	if err == nil {
		s.reserved += max(size, 0)
	}
	return err
}

func (s *Space) checkFloorLocked(size int64) error {
	free, total := s.lookLocked()
	switch {
	case free-s.spent-s.reserved-max(size, 0) < Floor(total):
		return ErrNoSpace
	case s.inodesLowLocked():
		return ErrNoInodes
	}
	return nil
}
