package mirror

import (
	"hash"
	"sync"
)

const (
	// maxFresh is how many buffers of a fill wait for its hasher, with the one that
	// it works on.
	maxFresh = 2
	// leastRoom is what a segment reads into, at least, behind bytes that the hasher
	// has not had yet; less would be many small reads and writes.
	leastRoom = 32 << 10
)

var freshBuffers = sync.Pool{New: func() any { return new(fresh) }}

// fresh is a buffer of what a segment has written to the part, for the hasher to
// take it from there and not to read it back. It is the segment's while held, and
// the hasher's while lent; both may have it at a time, for the segment goes on
// behind the bytes that are lent. Who is the last to leave it gives it back. All but
// the bytes is guarded by fill.mu; those from n on are the segment's alone, those
// before it nobody writes to while the buffer is lent.
type fresh struct {
	held, lent bool
	start      int64 // of the buffer in the blob
	n          int   // bytes that were written to the part
	b          [segmentBuffer]byte
}

func (b *fresh) end() int64 { return b.start + int64(b.n) }

// leave gives the buffer back if nobody has it any more; fill.mu is held.
func (b *fresh) leave() {
	if !b.held && !b.lent {
		freshBuffers.Put(b)
	}
}

// room returns where the segment reads to. It waits for the hasher where that is busy
// with what was lent: the blob is complete no sooner by getting ahead of it, and would
// have to be read back.
func (f *fill) room(s *segment) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		b := s.buffer
		switch {
		case b == nil:
			s.buffer = freshBuffers.Get().(*fresh)
			s.buffer.held = true
		case !b.lent:
			b.n = 0
			return b.b[:]
		case len(b.b)-b.n >= leastRoom:
			return b.b[b.n:]
		case len(f.fresh) < maxFresh:
			f.leaveRoomLocked(s)
		case f.hashed >= f.fresh[0].start && f.fresh[0].end() <= f.hashTarget():
			f.taken.Wait()
		default:
			// The hasher is not there yet, for long perhaps: it reads them back. What
			// it works on is the first one.
			last := len(f.fresh) - 1
			f.fresh[last].lent = false
			f.fresh[last].leave()
			f.fresh = f.fresh[:last]
		}
	}
}

// leaveRoom ends the segment's use of a buffer.
func (f *fill) leaveRoom(s *segment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveRoomLocked(s)
}

// leaveRoomLocked is leaveRoom; f.mu is held.
func (f *fill) leaveRoomLocked(s *segment) {
	if b := s.buffer; b != nil {
		s.buffer, b.held = nil, false
		b.leave()
	}
}

// lend gives the hasher the n bytes at s.pos, which are in the part and covered, if
// it can come to them: nothing is missing before them, and there are not too many
// already. Since they were not covered before, they are behind all that were lent.
// f.mu is held.
func (f *fill) lend(s *segment, n int) {
	b := s.buffer
	if b.n == 0 {
		b.start = s.pos
	}
	b.n += n
	if b.lent || f.deaf || len(f.fresh) == maxFresh || f.covered.end(0) < b.end() {
		return
	}
	b.lent = true
	f.fresh = append(f.fresh, b)
}

// took notes that the hasher has got n more bytes, and parts from the buffers that
// it is through with; f.mu is held.
func (f *fill) took(n int) {
	f.hashed += int64(n)
	for len(f.fresh) > 0 && f.fresh[0].end() <= f.hashed {
		f.takeBack(1)
	}
}

// takeBack ends the hasher's use of its first n buffers; f.mu is held.
func (f *fill) takeBack(n int) {
	for _, b := range f.fresh[:n] {
		b.lent = false
		b.leave()
	}
	f.fresh = append(f.fresh[:0], f.fresh[n:]...)
	f.taken.Broadcast()
}

// deafen ends the lending, with the hasher.
func (f *fill) deafen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deaf, f.sum, f.hashing = true, nil, false
	f.takeBack(len(f.fresh))
}

// takeSum takes the hash for a segment that is to hash the n bytes at its place by
// itself: they are in the part, and covered. nil = it is not to; f.mu is held.
func (f *fill) takeSum(s *segment, n int64) hash.Hash {
	if f.hashing || f.sum == nil || f.hashed != s.pos || s.pos+n > f.hashTarget() || f.c.downloads.Load() < f.c.processors {
		return nil
	}
	f.hashing = true
	return f.sum
}

// hashOwn hashes what a segment has just brought with the hash that it took, and
// returns where its claim ends.
func (f *fill) hashOwn(s *segment, h hash.Hash, p []byte) (limit int64) {
	_, _ = h.Write(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hashing = false
	f.took(len(p))
	f.unhashed.Signal()
	return f.limitLocked(s)
}
