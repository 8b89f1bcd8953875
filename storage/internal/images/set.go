package images

import (
	"encoding/binary"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Set is a set of content: manifests and blobs. It holds eight bytes of each digest.
// That two share them is no matter: one more is kept. nil holds nothing.
type Set map[uint64]struct{}

func keyOf(i volume.ID) uint64 { return binary.BigEndian.Uint64([]byte(i[1:9])) }

// Has reports whether something is in the set.
func (s Set) Has(i volume.ID) bool {
	if len(s) == 0 {
		return false
	}
	_, ok := s[keyOf(i)]
	return ok
}

func (s Set) add(i volume.ID) { s[keyOf(i)] = struct{}{} }
