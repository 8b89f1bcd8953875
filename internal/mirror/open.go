package mirror

import (
	"context"
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

// open makes or reopens the part, and gets the upstream's answer to the first
// GET, whichever can be done first: a part that was suspended says where the GET
// begins, an upstream says how large a part of unknown size will be. Where the
// link is not proven, the upstream is asked in any case, and first, unless it has sent
// some of the blob already: a manifest that merely names a digest opens no part, and
// takes no room.
func (f *fill) open() error {
	var cause error
	if begun := f.begun(); f.expected >= 0 && (f.proven || begun) {
		cause = f.begin(f.expected)
	}
	first := f.newSegment(f.covered.end(0))
	size, disputed := f.expected, false
	if !f.proven && first.pos > 0 && first.pos == size {
		first.pos-- // only to be told
	}
	if f.part == nil || first.pos < size || size == 0 {
		if err := f.ask(first); err != nil {
			return err
		}
		told := first.body.Size
		disputed = size >= 0 && told >= 0 && size != told
		switch {
		case told >= 0:
			size = told
		case len(f.covered) > 0:
			f.guessed = true
		default:
			size = -1 // the end of the body is to tell, whatever was expected
		}
		if err := f.fits(size); err != nil {
			first.close()
			return err
		}
	}
	if disputed || size < 0 {
		cause = nil // of a part of another size
		f.discard()
	}
	if f.part == nil && cause == nil {
		cause = f.begin(size)
	}
	if cause != nil && size < 0 && f.expected >= 0 {
		size, f.guessed = f.expected, true // there is no place to find out
	}
	if pos := f.covered.end(0); pos != first.pos {
		first.close()
		first.pos = pos
	}
	switch {
	case cause == nil:
	case size <= wholeSize && size >= 0:
		f.part = newMemory(size)
	case size < 0 || disputed:
		first.close()
		return f.unstorable(cause)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened, f.size, f.disputed, f.cause = true, size, disputed, cause
	if f.part == nil {
		f.split = &split{state: f.digest.Algorithm().Hash(), body: first.take()}
	} else {
		f.launch(first)
	}
	f.changed()
	return nil
}

// begun reports whether the upstream has sent some of the blob already. What size it had
// then is expected now, too, unless that was wrong.
func (f *fill) begun() bool {
	if f.proven && f.expected >= 0 {
		return true // the part tells
	}
	size, ok := f.c.store.Suspended(f.ctx, f.source.scope, f.digest)
	if ok && f.expected < 0 && f.source.remembered(f.source.key(kindSize, f.digest.String()), false) == nil {
		f.mu.Lock()
		f.expected = size
		f.mu.Unlock()
	}
	return ok
}

// begin gets the part. Nobody else looks at it before the fill is opened.
func (f *fill) begin(size int64) error {
	p, err := f.c.store.Begin(f.ctx, f.source.scope, f.digest, size)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part, f.covered = p, p.Covered()
	f.resumed = len(f.covered) > 0
	return nil
}

// discard gives up the part, whose size was wrong. Nobody else looks at it before
// the fill is opened.
func (f *fill) discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.part == nil {
		return
	}
	if err := errors.Join(f.part.Remove(), f.part.Close()); err != nil {
		f.c.log.Warn("part not removed", "digest", f.digest, "error", err)
	}
	f.part, f.covered, f.resumed = nil, nil, false
}

// ask sends the first GET, from the first gap on. What the upstream has not, it may
// have once it was asked for the manifest that names it.
func (f *fill) ask(first *segment) error {
	length := int64(-1)
	if end := f.covered.next(first.pos); f.expected >= 0 && end < f.expected {
		length = end - first.pos
	}
	mark := f.c.images.mark()
	body, err := newErrand(f, first).get(first.pos, length)
	if oci.IsNotFound(err) && f.awaitedAtAll() && f.source.askForImage(f.pulling, f.digest, mark) {
		body, err = newErrand(f, first).get(first.pos, length)
	}
	if err != nil {
		return fmt.Errorf("get blob %s@%s: %w", f.source.scope, f.digest, f.c.asked(f.pulling, err))
	}
	first.body = &body
	return nil
}

// fits refuses more than may be pulled before a client asks for it; -1 = it is not
// known how much.
func (f *fill) fits(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ahead && f.most > 0 && (size > f.most || size < 0 && f.expected < 0) {
		f.failLocked(errTooLarge())
	}
	return f.err
}

// adopt has the size that was expected do where the upstream tells none, so that
// readers need not wait for the end. It does nothing where it is too late for that.
func (f *fill) adopt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adoptLocked()
}

func (f *fill) adoptLocked() bool {
	if !f.opened || f.size >= 0 || f.expected < 0 {
		return false
	}
	// No hash may have got what is held back of a blob of that size.
	if seen := max(f.covered.end(0), f.hashed); f.expected > wholeSize && seen > f.expected-heldBack {
		return false
	}
	f.size, f.guessed = f.expected, true
	f.changed()
	return true
}

// unstorable is the one case in which a failing store fails a request: nobody
// knows for certain how long the answer is, and there is no place to find out.
func (f *fill) unstorable(cause error) error {
	return oci.UpstreamError(oci.ClassLength, "",
		"the blob's size is not certain, and there is no room to find out", cause)
}

// restart begins anew in another part. Nobody has got a byte of the old one.
func (f *fill) restart(p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.part
	f.part, f.covered, f.resumed, f.idle, f.stumbles = p, nil, false, false, stumbles{}
	f.hashed, f.deaf = 0, false
	f.pulling, f.stop = context.WithCancel(f.ctx)
	f.launch(f.newSegment(0))
	if err := old.Close(); err != nil {
		f.c.log.Warn("part not closed", "digest", f.digest, "error", err)
	}
}

// broken returns why the blob cannot be stored, if so.
func (f *fill) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inMemory() {
		return nil
	}
	return f.cause
}
