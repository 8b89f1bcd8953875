package mirror

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// fillKey is what there is one fill of at a time: what one upstream sends is nothing to
// those who ask another one, before it is verified.
type fillKey struct {
	digest   digest.Digest
	identity string
}

func (v view) fillKey(d digest.Digest) fillKey { return fillKey{d, v.Identity} }

// share notes that the upstream has the blob for the scope of v, too, which follows the
// fill: once its bytes are verified, they are proven for that.
func (f *fill) share(v view) {
	f.mu.Lock()
	right, desc := f.right, oci.Descriptor{Digest: f.digest, Size: f.size}
	if !right && !slices.ContainsFunc(f.sharers, func(o view) bool { return o.scope == v.scope }) {
		f.sharers = append(f.sharers, v)
	}
	f.mu.Unlock()
	if right {
		v.proven(desc)
	}
}

// prove records, once the bytes are verified, whose they are.
func (f *fill) prove() {
	f.mu.Lock()
	f.right = true
	sharers, desc := f.sharers, oci.Descriptor{Digest: f.digest, Size: f.size}
	f.mu.Unlock()
	f.source.proven(desc)
	for _, v := range sharers {
		v.proven(desc)
	}
}
