package mirror

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

const hashBuffer = 64 << 10

var hashBuffers = sync.Pool{New: func() any { return new([hashBuffer]byte) }}

// hash feeds the contiguous prefix of the part to h as it grows, and returns
// when the whole blob went in, when the segments ended before that, or when the
// fill failed. f.hashed says how far it got.
//
// What is verified is what readers and the store get, whatever order it came in.
// It takes bytes from where a segment has them only after the write of exactly
// these, to their place in the part, has succeeded; and no other segment writes
// there, since what is covered is claimed by none. Everything else, such as the
// bytes of an earlier fill and of segments that were ahead, it reads back.
//
// Where there are as many downloads as processors, segments hash what they bring
// themselves, if nothing is missing before it: to hand it on would make nothing
// faster then, and the bytes are in their processor's cache. Whoever hashes has h
// alone, which f.hashing tells.
func (f *fill) hash(h hash.Hash) error {
	defer f.deafen()
	for n := 0; ; {
		piece, target, part := f.hashable(n)
		if part == nil {
			return nil
		}
		if piece != nil {
			_, _ = h.Write(piece) // a hash.Hash returns no error
			n = len(piece)
			continue
		}
		var err error
		if n, err = readBack(h, part, f.hashed, target); err != nil {
			return f.unreadable(fmt.Errorf("hash blob %s at %d: %w: %w", f.digest, f.hashed, errUnread, err))
		}
	}
}

// readBack hashes some of the bytes [off, end) of the part.
func readBack(h hash.Hash, p part, off, end int64) (int, error) {
	buffer := hashBuffers.Get().(*[hashBuffer]byte)
	defer hashBuffers.Put(buffer)
	n, err := p.ReadAt(buffer[:min(hashBuffer, end-off)], off)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	_, _ = h.Write(buffer[:n])
	return n, nil
}

// errUnread means that the part does not give back what was written to it. That
// says nothing of the upstream, and such a part is not resumed.
var errUnread = errors.New("part cannot be read")

// unreadable gives the part up. Of a small blob nobody has got a byte, so that it
// can be begun anew elsewhere; the readers of others have none to go on from.
func (f *fill) unreadable(err error) error {
	f.mu.Lock()
	small := f.size >= 0 && f.size <= wholeSize && !f.inMemory()
	f.mu.Unlock()
	if small {
		f.breakOff(err)
		return nil
	}
	f.fail(err)
	return err
}

// hashable notes that n more bytes were hashed, waits until there are others, and
// returns either them or up to where to read them back; no part if there will be
// no more.
func (f *fill) hashable(n int) (piece []byte, target int64, p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 { // else it has not begun, and a segment may have
		f.hashing = false
		f.took(n)
	}
	for {
		target = f.hashTarget()
		switch {
		case f.err != nil || f.ctx.Err() != nil || f.size >= 0 && f.hashed == f.size:
			return nil, 0, nil
		case f.hashing || f.hashed >= target:
			if f.idle {
				return nil, 0, nil
			}
			f.unhashed.Wait() // some change always comes: the end of the segments
			continue
		case len(f.fresh) == 0:
		case f.hashed < f.fresh[0].start:
			target = min(target, f.fresh[0].start)
		default:
			b := f.fresh[0]
			piece = b.b[f.hashed-b.start : min(target, b.end())-b.start]
		}
		f.hashing = true
		return piece, target, f.part
	}
}

// hashTarget returns how far the hasher may go; f.mu is held.
//
// The held-back end goes in only when everything is there: if the part breaks
// before, readers go on from the hasher's state, and none can be past it. A small
// blob is begun anew then.
func (f *fill) hashTarget() int64 {
	target := f.covered.end(0)
	if f.size > wholeSize && target < f.size {
		target = min(target, f.size-heldBack)
	}
	return target
}
