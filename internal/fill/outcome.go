package fill

import (
	"errors"
	"io"
	"sync"

	"github.com/pullgate/pullgate/internal/oci"
)

// outcome is what comes of a fill. Safe for concurrent use.
type outcome struct {
	mu      sync.Mutex
	verdict verdict
}

// now returns what is known.
func (o *outcome) now() verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.verdict
}

// size returns the size, -1 = unknown.
func (o *outcome) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.verdict.size
}

// halted reports whether nothing is to be pulled any more.
func (o *outcome) halted() bool {
	v := o.now()
	return v.err != nil || v.broken() != nil
}

// well reports whether nothing is in the way, so far.
func (o *outcome) well() bool {
	v := o.now()
	return v.err == nil && v.cause == nil
}

// update changes what is known.
func (o *outcome) update(change func(*verdict)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.verdict)
}

// fail makes err final, unless the fill has failed before.
func (o *outcome) fail(err error) {
	o.update(func(v *verdict) {
		if v.err == nil {
			v.err = err
		}
	})
}

// breakOff notes that the part takes no more bytes, or does not give them back.
func (o *outcome) breakOff(cause error) {
	o.update(func(v *verdict) {
		if v.inMemory {
			v.err = errors.Join(v.err, cause)
		} else if v.cause == nil {
			v.cause = cause
		}
	})
}

// rest notes whether the fill pauses after a refusal, and reports whether that is new.
func (o *outcome) rest(resting bool) (changed bool) {
	o.update(func(v *verdict) {
		changed = v.resting != resting
		v.resting = resting
	})
	return changed
}

// give reports whether a client may be told a size, as the upstream has not answered yet.
func (o *outcome) give(told int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := &o.verdict
	if told <= 0 || v.opened || v.resting {
		return false
	}
	v.given = v.given || told == v.hint
	return true
}

// trustHint has the hint do where the upstream tells no size, so that readers need not wait
// for the end. It reports false where it is too late for that, or too early.
func (o *outcome) trustHint(h *hasher) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := &o.verdict
	if !v.opened || v.size >= 0 || v.hint < 0 || !h.bound(v.hint) {
		return false
	}
	v.size, v.guessed = v.hint, true
	return true
}

// end takes the end of a body that told the size as told, and came to an end at off,
// before the claim's. Where nobody tells the size, it is the end of the blob.
func (o *outcome) end(h *hasher, off, told int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := &o.verdict
	switch {
	case v.size < 0:
		v.size, v.learned = off, true
		h.end(off)
		return nil
	case v.guessed && told < 0:
		return oci.UpstreamError(oci.ClassLength, "", "the upstream's blob is shorter than was told", nil)
	}
	return io.ErrUnexpectedEOF
}
