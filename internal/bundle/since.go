package bundle

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Blobs returns, by repository ("docker.io/library/alpine"), the blobs that a bundle
// has for its images, or continues another one for: all that their manifests name. Its
// manifests are verified, its blobs are not read. Images without a name count for no
// repository.
func Blobs(name string) (index digest.Digest, blobs map[string]map[digest.Digest]bool, err error) {
	r, err := Open(name)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	contents := make(map[digest.Digest]oci.Contents)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		if e.Manifest != nil {
			contents[e.Descriptor.Digest] = e.Contents
		}
	}
	blobs = make(map[string]map[digest.Digest]bool)
	for _, image := range r.Index().Images {
		if image.Name.IsZero() {
			continue
		}
		has := blobs[image.Name.Place()]
		if has == nil {
			has = make(map[digest.Digest]bool)
			blobs[image.Name.Place()] = has
		}
		addBlobs(has, contents, image.Descriptor.Digest, make(map[digest.Digest]bool))
	}
	return r.Index().Digest, blobs, nil
}

// addBlobs adds what a manifest names, and those below it.
func addBlobs(to map[digest.Digest]bool, contents map[digest.Digest]oci.Contents, root digest.Digest, seen map[digest.Digest]bool) {
	if seen[root] {
		return
	}
	seen[root] = true
	manifests, blobs := contents[root].Children()
	for _, d := range blobs {
		to[d.Digest] = true
	}
	for _, d := range manifests {
		addBlobs(to, contents, d.Digest, seen)
	}
}
