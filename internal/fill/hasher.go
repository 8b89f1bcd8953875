package fill

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

const hashBuffer = 64 << 10

var hashBuffers = sync.Pool{New: func() any { return new([hashBuffer]byte) }}

// errUnread means that the part does not give back what was written to it. That
// says nothing of the upstream, and such a part is not resumed.
var errUnread = errors.New("part cannot be read")

// hasher hashes the contiguous prefix of a part as it grows. Safe for concurrent use.
//
// What is verified is what readers and the store get, whatever order it came in.
// It takes bytes from where a segment has them only after the write of exactly
// these, to their place in the part, has succeeded; and no other segment writes
// there, since what is covered is claimed by none. Everything else, such as the
// bytes of an earlier fill and of segments that were ahead, it reads back.
//
// Where there are as many downloads as processors, segments hash what they bring
// themselves, if nothing is missing before it: to hand it on would make nothing
// faster then, and the bytes are in their processor's cache. Whoever hashes has sum
// alone, which busy tells.
type hasher struct {
	mu            sync.Mutex
	size          int64     // of the blob; -1 = unknown
	prefix        int64     // bytes from the beginning that are in the part
	hashed        int64     // only who is hashing moves it, and may look without mu
	sum           hash.Hash // of the bytes before hashed; nil = it does not run
	busy          bool      // somebody has sum
	idle          bool      // no segment is running any more
	failed        bool      // what is hashed is of no use any more
	grown         sync.Cond // there may be something to hash
	lent          []*handoff
	handoffClosed bool      // it takes no more of them
	taken         sync.Cond // some were taken
}

// restart begins anew with a part of which so many bytes are there from the beginning.
// It is called while nothing runs.
func (h *hasher) restart(prefix, size int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.grown.L, h.taken.L = &h.mu, &h.mu
	h.prefix, h.size, h.hashed, h.handoffClosed, h.idle = prefix, size, 0, false, false
}

// run feeds what is in the part to sum, and returns when the whole blob went in, when
// the segments ended before that, or when the fill failed or ctx ended.
func (h *hasher) run(ctx context.Context, sum hash.Hash, p Part) error {
	h.mu.Lock()
	h.sum = sum
	h.mu.Unlock()
	defer h.close()
	for n := 0; ; {
		piece, target := h.next(ctx, n)
		switch {
		case target < 0:
			return nil
		case piece != nil:
			_, _ = sum.Write(piece) // a hash.Hash returns no error
			n = len(piece)
			continue
		}
		var err error
		if n, err = readBack(sum, p, h.hashed, target); err != nil {
			return fmt.Errorf("hash at %d: %w: %w", h.hashed, errUnread, err)
		}
	}
}

// readBack hashes some of the bytes [off, end) of the part.
func readBack(h hash.Hash, p Part, off, end int64) (int, error) {
	buffer := hashBuffers.Get().(*[hashBuffer]byte)
	defer hashBuffers.Put(buffer)
	n, err := p.ReadAt(buffer[:min(hashBuffer, end-off)], off)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	_, _ = h.Write(buffer[:n])
	return n, nil
}

// next notes that n more bytes were hashed, waits until there are others, and returns
// either them or up to where to read them back; -1 if there will be no more.
func (h *hasher) next(ctx context.Context, n int) (piece []byte, target int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n > 0 { // else it has not begun, and a segment may have
		h.busy = false
		h.took(n)
	}
	for {
		target = h.target()
		switch {
		case h.failed || ctx.Err() != nil || h.size >= 0 && h.hashed == h.size:
			return nil, -1
		case h.busy || h.hashed >= target:
			if h.idle {
				return nil, -1
			}
			h.grown.Wait() // some change always comes: the end of the segments
			continue
		case len(h.lent) == 0:
		case h.hashed < h.lent[0].start:
			target = min(target, h.lent[0].start)
		default:
			b := h.lent[0]
			piece = b.b[h.hashed-b.start : min(target, b.end())-b.start]
		}
		h.busy = true
		return piece, target
	}
}

// target returns how far the hasher may go; h.mu is held. A segment that was reading when
// the size became known may have got past that.
//
// The held-back end goes in only when everything is there: if the part breaks
// before, readers go on from the hasher's state, and none can be past it. A small
// blob is begun anew then.
func (h *hasher) target() int64 {
	switch {
	case h.size < 0:
		return h.prefix
	case h.size > WholeSize && h.prefix < h.size:
		return min(h.prefix, h.size-heldBack)
	}
	return min(h.prefix, h.size)
}

// add notes that n more bytes are in the part, at pos and in the buffer, and how many
// there are now from the beginning. It returns with what the segment is to hash them,
// if it may and they are what comes next; nil = it hands them on.
func (h *hasher) add(b *handoff, pos int64, n int, prefix int64, may bool) (own hash.Hash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prefix = prefix
	if may && !h.busy && h.sum != nil && h.hashed == pos && pos+int64(n) <= h.target() {
		h.busy = true
		return h.sum
	}
	h.lend(b, pos, n)
	h.wake()
	return nil
}

// hash hashes what a segment has just brought, with what add returned.
func (h *hasher) hash(own hash.Hash, p []byte) {
	_, _ = own.Write(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy = false
	h.took(len(p))
	h.grown.Signal()
}

// bound tells the size of the blob, unless the hasher may have got what is held back
// of one of that size.
func (h *hasher) bound(size int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if size > WholeSize && h.prefix > size-heldBack {
		return false
	}
	h.size = size
	h.wake()
	return true
}

// end tells the size of a blob that has come in full.
func (h *hasher) end(size int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.size = size
	h.wake()
}

// rest says that no more bytes will come.
func (h *hasher) rest() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = true
	h.wake()
}

// fail ends the hashing.
func (h *hasher) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = true
	h.wake()
}

// wake wakes the hasher unless a segment hashes, which does when it is done; h.mu is
// held.
func (h *hasher) wake() {
	if !h.busy {
		h.grown.Signal()
	}
}

// close ends the lending, with the hasher.
func (h *hasher) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handoffClosed, h.sum, h.busy = true, nil, false
	h.takeBack(len(h.lent))
}
