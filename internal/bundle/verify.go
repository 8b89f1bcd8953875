package bundle

import (
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// verifier compares what is read with size and digest before it says io.EOF.
type verifier struct {
	name string
	want oci.Descriptor
	r    io.Reader
	hash hash.Hash
	read int64
	err  error
}

// Verify returns a Reader that reads all of r, and returns io.EOF only if that is what
// the descriptor says, otherwise a *DamageError.
func Verify(d oci.Descriptor, r io.Reader) io.Reader { return newVerifier("", d, r) }

func newVerifier(name string, want oci.Descriptor, r io.Reader) *verifier {
	return &verifier{name: name, want: want, r: r, hash: want.Digest.Algorithm().Hash()}
}

// Read implements io.Reader.
func (v *verifier) Read(b []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(b)
	if over := v.read + int64(n) - v.want.Size; over > 0 {
		v.err = damaged(v.name, v.want.Digest, "it has more than %d bytes", v.want.Size)
		return 0, v.err
	}
	v.hash.Write(b[:n])
	v.read += int64(n)
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF):
		v.err = broken(v.name, v.want.Digest, err)
	case v.read < v.want.Size:
		v.err = damaged(v.name, v.want.Digest, "it ends after %d bytes of %d", v.read, v.want.Size)
	case digest.NewDigest(v.want.Digest.Algorithm(), v.hash) != v.want.Digest:
		v.err = damaged(v.name, v.want.Digest, "its bytes do not match the digest")
	default:
		v.err = io.EOF
	}
	return n, v.err
}

// broken is an error of reading: damage if the bundle ends too early, else what it
// is.
func broken(name string, d digest.Digest, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged(name, d, "the bundle ends in the middle of it: %w", err)
	}
	if _, ok := errors.AsType[*DamageError](err); ok {
		return err
	}
	if d != "" {
		return fmt.Errorf("read entry %q (%s): %w", oci.Clip(name), d, err)
	}
	return fmt.Errorf("read entry %q: %w", oci.Clip(name), err)
}
