package bundle

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

// Blobs returns the blobs that a bundle has, or continues another one for: all that
// its manifests name. Its manifests are verified, its blobs are not read.
func Blobs(name string) (index digest.Digest, blobs map[digest.Digest]bool, err error) {
	r, err := Open(name)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	blobs = make(map[digest.Digest]bool)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Index().Digest, blobs, nil
		}
		if err != nil {
			return "", nil, err
		}
		if e.Manifest == nil {
			blobs[e.Descriptor.Digest] = true
		}
		for _, d := range e.Contents.Blobs {
			blobs[d.Digest] = true
		}
	}
}
