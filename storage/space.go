package storage

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
	leastNodes = 16
	mostNodes  = 1000
)

// errNoInodes is ErrNoSpace where there are bytes, but no more files can be made.
var errNoInodes = fmt.Errorf("%w: too few inodes are free", ErrNoSpace)

// space is the one account of the file system that the store lies on: what was free
// when last looked at, what was written since, and what is promised to parts for which
// the file system holds nothing back. Safe for concurrent use.
type space struct {
	volume func() (free, total int64, err error)
	inodes func() (free, total int64, err error)

	mu          sync.Mutex
	looked      time.Time
	spent       int64
	free, total int64
	reserved    int64
	// nodes are the free inodes, of all that the file system has; allNodes is 0
	// where it makes them as it goes.
	nodes, allNodes int64
}

// newSpace returns the account of a file system that the functions measure: the free
// and all bytes, and the free and all inodes.
func newSpace(bytes, inodes func() (free, total int64, err error)) *space {
	return &space{volume: bytes, inodes: inodes}
}

// measure has another function measure the bytes.
func (s *space) measure(bytes func() (free, total int64, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volume, s.looked = bytes, time.Time{}
}

// look returns the free and all bytes, as of the last 250 ms.
func (s *space) look() (free, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookLocked()
}

func (s *space) lookLocked() (free, total int64) {
	if s.looked.IsZero() || time.Since(s.looked) > spaceAge {
		s.looked, s.spent = time.Now(), 0
		var err error
		if s.free, s.total, err = s.volume(); err != nil {
			// Not to know is no reason to stop writing.
			s.free, s.total = math.MaxInt64, math.MaxInt64
		}
		if s.nodes, s.allNodes, err = s.inodes(); err != nil {
			s.nodes, s.allNodes = 0, 0
		}
	}
	return s.free, s.total
}

// unreserved is look without what was written since, and what is promised to parts.
func (s *space) unreserved() (free, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, total = s.lookLocked()
	return free - s.spent - s.reserved, total
}

// promise reserves so many bytes, less if that is negative.
func (s *space) promise(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved += bytes
}

// lookNodes returns the free and all inodes, as look does bytes, and whether the
// free ones are so few that they are left to the index: its next file needs one.
func (s *space) lookNodes() (free, total int64, scarce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookLocked()
	return s.nodes, s.allNodes, s.scarceLocked()
}

func (s *space) scarceLocked() bool {
	return s.allNodes > 0 && s.nodes < min(max(s.allNodes/100, leastNodes), mostNodes)
}

// forget makes the next look a fresh one.
func (s *space) forget() {
	s.mu.Lock()
	s.looked = time.Time{}
	s.mu.Unlock()
}

// spend makes the next look a fresh one if much is written.
func (s *space) spend(bytes int) {
	s.mu.Lock()
	if s.spent += int64(bytes); s.spent >= spaceSpent {
		s.looked = time.Time{}
	}
	s.mu.Unlock()
}

// reserve is the space that is kept for Badger, which writes through mapped
// sparse files and needs some for each flush: 1 % of the file system, but 64 to
// 512 MiB, and a quarter of a very small one.
func reserve(total int64) int64 {
	return min(max(total/100, 64<<20), 512<<20, total/4)
}

// floor is the free space below which no blob is taken in: twice the reserve,
// so that blobs stop long before the index has to.
func floor(total int64) int64 { return 2 * reserve(total) }

// room returns ErrNoSpace if the index must not be written.
func (s *space) room() error {
	if free, total := s.look(); free < reserve(total) {
		return ErrNoSpace
	}
	return nil
}

// roomFor returns ErrNoSpace if there is no room for a blob of size bytes; -1 =
// unknown.
func (s *space) roomFor(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked(size)
}

// take is roomFor, and reserves it.
func (s *space) take(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.roomLocked(size)
	if err == nil {
		s.reserved += max(size, 0)
	}
	return err
}

func (s *space) roomLocked(size int64) error {
	free, total := s.lookLocked()
	switch {
	case free-s.spent-s.reserved-max(size, 0) < floor(total):
		return ErrNoSpace
	case s.scarceLocked():
		return errNoInodes
	}
	return nil
}
