package fill

import (
	"io"

	"github.com/pullgate/pullgate/internal/oci"
)

// Select implements oci.Filling.
func (r *Reader) Select(offset, end int64) error {
	_, err := r.Seek(offset, io.SeekStart)
	r.start, r.partial = offset, end <= r.size-held(r.size)
	return err
}

// Trust implements oci.Filling. What reaches into the end that is held back ends
// as the whole does. That of a fill which stores no more is verified by a hash that
// has got what is stored, so it cannot begin after that.
func (r *Reader) Trust() oci.Trust {
	v := r.fill.outcome.now()
	switch {
	case v.verified, r.size <= WholeSize:
		return oci.TrustVerified
	case v.split != nil && (r.partial || r.start > v.split.at):
		return oci.TrustWhole
	case !r.partial:
		return oci.TrustVerified
	case r.strict:
		return oci.TrustHeld
	}
	return oci.TrustNone
}

// AwaitVerified implements oci.Filling.
func (r *Reader) AwaitVerified() error {
	for {
		seen := r.fill.changes.seen()
		v := r.fill.outcome.now()
		if verified, err := v.verification(r.size); verified || err != nil {
			return err
		}
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		r.fill.changes.wait(r.ctx, seen, nil)
	}
}
