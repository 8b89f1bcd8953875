package fill

import (
	"errors"
	"fmt"
	"io"

	"github.com/pullgate/pullgate/internal/oci"
)

var errDetached = errors.New("the fill stores no more")

// verdict is what is known of a fill at some time: how large the blob is, whether its
// bytes are right, and what is in the way. So it says how much of what is there is
// released.
type verdict struct {
	sizing

	opened   bool   // the upstream has answered, or need not be asked
	resting  bool   // the upstream has refused it, and is asked again in a moment
	inMemory bool   // the part is, whatever the cause
	verified bool   // and everything may be released
	err      error  // final; nothing is released any more
	cause    error  // why the blob cannot be stored; no error for readers
	split    *split // where readers go on by themselves
}

// broken returns why the part is of no use, if so.
func (v *verdict) broken() error {
	if v.inMemory {
		return nil
	}
	return v.cause
}

// releasable returns up to where a reader at off, which was told a size, gets what is
// there; past is what it gets behind that, nil if it is to wait. err is io.EOF at the
// end of a verified blob. Nothing is released to who was told another size than the
// blob's.
func (v *verdict) releasable(off, told int64) (limit int64, past, err error) {
	switch {
	case v.err != nil:
		return 0, nil, v.err
	case v.opened && v.size >= 0 && v.size != told:
		return 0, nil, errSize(told, v.size)
	case v.verified && off >= v.size:
		return 0, nil, io.EOF
	case v.verified:
		return v.size, nil, nil
	case v.size >= 0 && !v.disputed:
		limit = v.size - held(v.size)
	} // else nothing is released of what nobody knows the end of
	switch {
	case v.split == nil:
		return limit, nil, nil
	case off < v.size:
		past = errDetached
	default:
		past = io.ErrUnexpectedEOF
	}
	if off <= v.split.at {
		limit = min(limit, v.split.at) // where the hash goes on
	}
	return limit, past, nil
}

// ready returns the size as soon as the fill can be read without a proper error being
// lost: the size is known, and if it is small, or if that is not the size which the
// reader or the fill was told (-1 = none), the blob is verified.
func (v *verdict) ready(told int64) (size int64, ready bool, err error) {
	switch {
	case v.err != nil:
		return 0, false, v.err
	case v.verified, v.opened && v.certain(told) && (v.size > WholeSize || v.split != nil):
		return v.size, true, nil
	case v.split != nil:
		return 0, false, errUnstorable(v.cause)
	}
	return 0, false, nil
}

// verification reports whether a reader that was told a size has got what is right.
// err is why that will not be known.
func (v *verdict) verification(told int64) (verified bool, err error) {
	switch {
	case v.err != nil:
		return false, v.err
	case v.verified && v.size != told:
		return false, errSize(told, v.size)
	case v.verified:
		return true, nil
	case v.split != nil:
		return false, oci.ErrPasses
	}
	return false, nil
}

// errUnstorable is the one case in which a failing store fails a request: nobody
// knows for certain how long the answer is, and there is no place to find out.
func errUnstorable(cause error) error {
	return oci.UpstreamError(oci.ClassLength, "",
		"the blob's size is not certain, and there is no room to find out", cause)
}

const (
	// WholeSize is up to where blobs are verified before their first byte.
	WholeSize = 1 << 20
	// heldBack is how much of the end of larger ones waits for that.
	heldBack = 64 << 10
)

// held returns how many bytes at the end of a blob are released to nobody
// before it is verified.
func held(size int64) int64 {
	if size <= WholeSize {
		return size
	}
	return heldBack
}

// sizing is what is known of the size of a blob.
type sizing struct {
	size     int64 // -1 = unknown
	hint     int64 // what the link tells; -1 = nothing
	learned  bool  // from the end of the body
	disputed bool  // the upstream announced another size than the hint
	guessed  bool  // the upstream tells no size: the hint has to do
	given    bool  // a client got the hint before the upstream had answered
}

// certain reports whether a reader that was told a size, -1 = none, can rely on what
// is known before the blob is verified.
func (s *sizing) certain(told int64) bool {
	return s.size >= 0 && !s.learned && !s.disputed && (told < 0 || told == s.size)
}

// errSize is for a reader that was told a size that turns out to be another.
func errSize(told, size int64) error {
	return oci.UpstreamError(oci.ClassLength, "", "the blob's size is not what was told",
		fmt.Errorf("%d bytes were told, not %d", told, size))
}
