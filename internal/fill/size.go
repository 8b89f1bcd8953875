package fill

import (
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

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
