package fill

import "sync"

const (
	segmentBuffer = 128 << 10
	// maxHandoffs is how many buffers of a fill wait for its hasher, with the one that
	// it works on.
	maxHandoffs = 2
	// leastSpace is what a segment reads into, at least, behind bytes that the hasher
	// has not had yet; less would be many small reads and writes.
	leastSpace = 32 << 10
)

var handoffs = sync.Pool{New: func() any { return new(handoff) }}

// handoff is a buffer of what a segment has written to the part, for the hasher to
// take it from there and not to read it back. It is the segment's while held, and
// the hasher's while lent; both may have it at a time, for the segment goes on
// behind the bytes that are lent. Who is the last to leave it gives it back. All but
// the bytes is guarded by hasher.mu; those from n on are the segment's alone, those
// before it nobody writes to while the buffer is lent.
type handoff struct {
	held, lent bool
	start      int64 // of the buffer in the blob
	n          int   // bytes that were written to the part
	b          [segmentBuffer]byte
}

func (b *handoff) end() int64 { return b.start + int64(b.n) }

// leave gives the buffer back if nobody has it any more; hasher.mu is held.
func (b *handoff) leave() {
	if !b.held && !b.lent {
		handoffs.Put(b)
	}
}

// space returns where a segment reads to, in its buffer or a new one. It waits for the
// hasher where that is busy with what was lent: the blob is complete no sooner by
// getting ahead of it, and would have to be read back.
func (h *hasher) space(b *handoff) (*handoff, []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case b == nil:
			b = handoffs.Get().(*handoff)
			b.held = true
		case !b.lent:
			b.n = 0
			return b, b.b[:]
		case len(b.b)-b.n >= leastSpace:
			return b, b.b[b.n:]
		case len(h.lent) < maxHandoffs:
			h.partLocked(b)
			b = nil
		case h.hashed >= h.lent[0].start && h.lent[0].end() <= h.target():
			h.taken.Wait()
		default:
			// The hasher is not there yet, for long perhaps: it reads them back. What
			// it works on is the first one.
			last := len(h.lent) - 1
			h.lent[last].lent = false
			h.lent[last].leave()
			h.lent = h.lent[:last]
		}
	}
}

// part ends the segment's use of a buffer; nil is none.
func (h *hasher) part(b *handoff) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.partLocked(b)
}

func (h *hasher) partLocked(b *handoff) {
	if b != nil {
		b.held = false
		b.leave()
	}
}

// lend gives the hasher the n bytes at pos, which are in the part and covered, if it
// can come to them: nothing is missing before them, and there are not too many
// already. Since they were not covered before, they are behind all that were lent.
// h.mu is held.
func (h *hasher) lend(b *handoff, pos int64, n int) {
	if b.n == 0 {
		b.start = pos
	}
	b.n += n
	if b.lent || h.handoffClosed || len(h.lent) == maxHandoffs || h.prefix < b.end() {
		return
	}
	b.lent = true
	h.lent = append(h.lent, b)
}

// took notes that n more bytes are hashed, and parts from the buffers that the hasher
// is through with; h.mu is held.
func (h *hasher) took(n int) {
	h.hashed += int64(n)
	for len(h.lent) > 0 && h.lent[0].end() <= h.hashed {
		h.takeBack(1)
	}
}

// takeBack ends the hasher's use of its first n buffers; h.mu is held.
func (h *hasher) takeBack(n int) {
	for _, b := range h.lent[:n] {
		b.lent = false
		b.leave()
	}
	h.lent = append(h.lent[:0], h.lent[n:]...)
	h.taken.Broadcast()
}
