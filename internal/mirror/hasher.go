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
// It reads back what was written, from the page cache: what is verified is what
// readers and the store get, whatever order it came in.
func (f *fill) hash(h hash.Hash) error {
	buffer := hashBuffers.Get().(*[hashBuffer]byte)
	defer hashBuffers.Put(buffer)
	for {
		target, part := f.hashable()
		if part == nil {
			return nil
		}
		for f.hashed < target {
			n, err := part.ReadAt(buffer[:min(hashBuffer, target-f.hashed)], f.hashed)
			if n == 0 || err != nil && !errors.Is(err, io.EOF) {
				return f.unreadable(fmt.Errorf("hash blob %s at %d: %w: %w", f.digest, f.hashed, errUnread, err))
			}
			_, _ = h.Write(buffer[:n]) // a hash.Hash returns no error
			f.hashed += int64(n)
		}
	}
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

// hashable waits until there is more to hash, and returns up to where; no part
// if there will be no more.
//
// The held-back end goes in only when everything is there: if the part breaks
// before, readers go on from the hasher's state, and none can be past it.
func (f *fill) hashable() (target int64, p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		target = f.covered.end(0)
		if f.size >= 0 && target < f.size {
			target = min(target, f.size-held(f.size))
		}
		switch {
		case f.err != nil || f.ctx.Err() != nil || f.size >= 0 && f.hashed == f.size:
			return 0, nil
		case f.hashed < target:
			return target, f.part
		case f.idle:
			return 0, nil
		}
		change := f.waiting()
		f.mu.Unlock()
		<-change // some change always comes: the end of the segments
		f.mu.Lock()
	}
}
