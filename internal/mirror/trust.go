package mirror

import (
	"io"

	"github.com/pullgate/pullgate/internal/oci"
)

// Select implements oci.Filling.
func (r *reader) Select(offset, end int64) error {
	_, err := r.Seek(offset, io.SeekStart)
	r.start, r.partial = offset, end <= r.size-held(r.size)
	return err
}

// Trust implements oci.Filling. What reaches into the end that is held back ends
// as the whole does. That of a fill which stores no more is verified by a hash that
// has got what is stored, so it cannot begin after that.
func (r *reader) Trust() oci.Trust {
	f := r.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.verified, r.size <= wholeSize:
		return oci.TrustVerified
	case f.split != nil && (r.partial || r.start > f.split.at):
		return oci.TrustWhole
	case !r.partial:
		return oci.TrustVerified
	case r.strict:
		return oci.TrustHeld
	}
	return oci.TrustNone
}

// AwaitVerified implements oci.Filling.
func (r *reader) AwaitVerified() error {
	f := r.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return f.err
		case f.verified && f.size != r.size:
			return errSize(r.size, f.size)
		case f.verified:
			return nil
		case f.split != nil:
			return oci.ErrPasses
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		}
		f.wait(r.ctx, nil)
	}
}
