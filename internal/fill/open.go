package fill

import (
	"errors"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// open makes or reopens the part, and gets the upstream's answer to the first
// GET, whichever can be done first: a part that was suspended says where the GET
// begins, an upstream says how large a part of unknown size will be. Where the
// link is not proven, the upstream is asked in any case, and first, unless it has sent
// some of the blob already: a manifest that merely names a digest opens no part, and
// takes no room. detached says that readers go on by themselves from the beginning.
func (f *Fill) open() (detached bool, err error) {
	o := opening{f: f}
	begun := false
	defer func() {
		if !begun && o.first != nil {
			o.first.close()
		}
	}()
	size, disputed, err := o.answer()
	if err != nil {
		return false, err
	}
	if disputed || size < 0 {
		o.discard() // it was of another size
	}
	if o.part == nil && o.cause == nil {
		o.begin(size)
	}
	hint := f.outcome.now().hint
	if o.cause != nil && size < 0 && hint >= 0 {
		size, o.guessed = hint, true // there is no place to find out
	}
	if pos := o.covered.End(0); pos != o.first.pos {
		o.first.close()
		o.first = f.workers.new(pos)
	}
	inMemory := false
	switch {
	case o.cause == nil:
	case size <= WholeSize && size >= 0:
		o.part, inMemory = newMemory(size), true
	case size < 0 || disputed:
		return false, errUnstorable(o.cause)
	}
	begun = true
	var s *split
	if o.part == nil {
		s = &split{state: f.Digest.Algorithm().Hash(), body: o.first.take()}
	}
	f.hasher.restart(f.content.set(o.part, o.covered), size)
	f.outcome.update(func(v *verdict) {
		v.opened, v.size, v.disputed, v.guessed, v.cause, v.split, v.inMemory = true, size, disputed, o.guessed, o.cause, s, inMemory
	})
	if v := f.outcome.now(); v.given && v.hint > WholeSize {
		f.trustHint()
	}
	if s == nil {
		f.workers.launch(o.first)
	}
	f.changes.announce()
	return s != nil, nil
}

// opening is the beginning of a fill, before anybody else looks at what it has.
type opening struct {
	f       *Fill
	part    Part
	covered oci.Extents
	cause   error // why there is no part
	guessed bool  // the upstream tells no size
	first   *segment
}

// answer gets the part if the size is expected, and then the upstream's answer unless
// the part is complete. It returns the size, -1 = the end of the body is to tell.
func (o *opening) answer() (size int64, disputed bool, err error) {
	f := o.f
	begun := o.begun()
	hint := f.outcome.now().hint
	if hint >= 0 && (f.Proven || begun) {
		o.begin(hint)
	}
	o.first = f.workers.new(o.covered.End(0))
	if !f.Proven && o.first.pos > 0 && o.first.pos == hint {
		o.first.pos-- // only to be told
	}
	size = hint
	if o.part != nil && o.first.pos >= size && size != 0 {
		return size, false, nil
	}
	if err := o.ask(hint); err != nil {
		return 0, false, err
	}
	told := o.first.body.Size
	disputed = size >= 0 && told >= 0 && size != told
	switch {
	case told >= 0:
		size = told
	case len(o.covered) > 0:
		o.guessed = true
	default:
		size = -1 // the end of the body is to tell, whatever was expected
	}
	if size < 0 && hint >= 0 || !f.audience.refuse(&f.outcome, size) {
		return size, disputed, nil
	}
	f.abort()
	return 0, false, f.outcome.now().err
}

// begun reports whether the upstream has sent some of the blob already. What size it had
// then is expected now, too, unless that was wrong.
func (o *opening) begun() bool {
	f := o.f
	expected := f.outcome.now().hint >= 0
	if f.Proven && expected {
		return true // the part tells
	}
	size, ok := f.Policy.Suspended(f.ctx)
	if ok && !expected {
		f.outcome.update(func(v *verdict) { v.hint = size })
	}
	return ok
}

// begin gets the part.
func (o *opening) begin(size int64) {
	part, err := o.f.Policy.Part(o.f.ctx, size)
	if o.cause = err; err == nil {
		o.part, o.covered = part, part.Covered()
		o.f.content.set(o.part, o.covered)
	}
}

// discard gives up the part, whose size was wrong, or what was in the way of it.
func (o *opening) discard() {
	o.cause = nil
	if o.part == nil {
		return
	}
	if err := errors.Join(o.part.Remove(), o.part.Close()); err != nil {
		o.f.Log.Warn("part not removed", "error", err)
	}
	o.part, o.covered = nil, nil
	o.f.content.set(nil, nil)
}

// ask sends the first GET, from the first gap on. What the upstream has not, it may
// have once it was asked for the manifest that names it.
func (o *opening) ask(hint int64) error {
	f, length := o.f, int64(-1)
	if end := o.covered.Next(o.first.pos); hint >= 0 && end < hint {
		length = end - o.first.pos
	}
	summon := f.Policy.Summon()
	body, err := newFetch(f, o.first).get(o.first.pos, length)
	if oci.IsNotFound(err) && f.audience.clients() > 0 && summon(f.ctx) {
		body, err = newFetch(f, o.first).get(o.first.pos, length)
	}
	if err != nil {
		switch oci.ClassOf(err) {
		case oci.ClassNone, oci.ClassCanceled, oci.ClassTimeout:
			if f.ctx.Err() != nil {
				err = ErrClosed()
			}
		}
		return fmt.Errorf("get blob %s@%s: %w", f.Scope, f.Digest, err)
	}
	o.first.body = &body
	return nil
}

// ErrClosed is for what is cut short because the server ends.
func ErrClosed() *oci.Error {
	return &oci.Error{
		Code: oci.CodeUnavailable, Status: 503, Message: "the gateway is shutting down",
		Class: oci.ClassCanceled, RetryAfter: 5 * time.Second,
	}
}

// errTooLarge is for what is more than may be pulled ahead.
func errTooLarge() *oci.Error {
	return &oci.Error{
		Code: oci.CodeUnavailable, Status: 503, Class: oci.ClassCanceled, Message: "the blob is too large to be pulled ahead",
	}
}
