package bundle

import (
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// wanted is what is known of a digest before it is read.
type wanted struct {
	digest         digest.Digest
	size           int64 // -1 = unknown
	mediaType      string
	manifest, seen bool
	// required says that the bundle must have it. Blobs are not required: the store may
	// have them already.
	required bool
	image    string // for messages
}

func (w *wanted) descriptor() oci.Descriptor {
	return oci.Descriptor{MediaType: w.mediaType, Digest: w.digest, Size: w.size}
}

// ledger is what the manifests that were read want.
type ledger struct {
	wants     map[digest.Digest]*wanted
	manifests []*wanted // in the order in which they were first named
	blobs     []*wanted
}

func newLedger(x *Index) (*ledger, error) {
	l := &ledger{wants: make(map[digest.Digest]*wanted)}
	for _, image := range x.Images {
		w, err := l.want(image.Descriptor, true, image.String())
		if err != nil {
			return nil, err
		}
		w.required = true
		for _, d := range image.Manifests {
			w, err := l.want(oci.Descriptor{Digest: d, Size: -1}, true, image.String())
			if err != nil {
				return nil, err
			}
			w.required = true
		}
	}
	return l, nil
}

// want notes that something is named, and refuses what contradicts what was said
// of it before.
func (l *ledger) want(d oci.Descriptor, manifest bool, image string) (*wanted, error) {
	w := l.wants[d.Digest]
	switch {
	case w == nil && len(l.wants) == maxEntries:
		return nil, damaged("", "", "it names more than %d manifests and blobs", maxEntries)
	case w == nil:
		w = &wanted{digest: d.Digest, size: d.Size, mediaType: d.MediaType, manifest: manifest, image: image}
		l.wants[d.Digest] = w
		if manifest {
			l.manifests = append(l.manifests, w)
		} else {
			l.blobs = append(l.blobs, w)
		}
	case w.manifest != manifest:
		return nil, damaged("", d.Digest, "it is named as a manifest and as a blob")
	case w.size >= 0 && d.Size >= 0 && w.size != d.Size:
		return nil, damaged("", d.Digest, "it is said to have %d bytes, and %d", w.size, d.Size)
	case w.size < 0 && d.Size >= 0:
		w.size = d.Size
	}
	if w.mediaType == "" {
		w.mediaType = d.MediaType
	}
	return w, nil
}

// enter begins an entry: its digest has to be wanted, and its size the right one.
func (l *ledger) enter(w *wanted, name string, size int64) error {
	most := int64(maxBlob)
	if w.manifest {
		most = oci.MaxManifestSize
	}
	switch {
	case w.seen:
		return damaged(name, w.digest, "it is there twice")
	case size < 0 || size > most:
		return damaged(name, w.digest, "it has %d bytes, %d are the most", size, most)
	case w.size >= 0 && w.size != size:
		return damaged(name, w.digest, "it has %d bytes, and %s says %d", size, w.image, w.size)
	}
	w.size, w.seen = size, true
	return nil
}

// manifest reads and verifies a manifest, and notes what it names.
func (l *ledger) manifest(w *wanted, name string, r io.Reader) (*Entry, error) {
	raw, err := readSmall(name, r, w.size, oci.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	if !oci.Verify(w.digest, raw) {
		return nil, damaged(name, w.digest, "its bytes do not match the digest")
	}
	mediaType, contents, err := oci.DecodeManifest(w.mediaType, raw)
	if err != nil {
		return nil, damaged(name, w.digest, "%w", err)
	}
	manifests, blobs := contents.Children()
	for _, d := range manifests {
		if _, err := l.want(d, true, w.image); err != nil {
			return nil, err
		}
	}
	for _, d := range blobs {
		if _, err := l.want(d, false, w.image); err != nil {
			return nil, err
		}
	}
	m := oci.Manifest{MediaType: mediaType, Digest: w.digest, Bytes: raw}
	return &Entry{Name: name, Image: w.image, Descriptor: m.Descriptor(), Manifest: &m, Contents: contents}, nil
}

// blob hands out a blob that verifies itself.
func (l *ledger) blob(w *wanted, name string, r io.Reader) *Entry {
	return &Entry{Name: name, Image: w.image, Descriptor: w.descriptor(), Content: newVerifier(name, w.descriptor(), r)}
}

// end refuses a bundle that lacks what has to be in it.
func (l *ledger) end() error {
	for _, w := range l.manifests {
		if w.required && !w.seen {
			return damaged(blobName(w.digest), w.digest, "the manifest of %s is missing", w.image)
		}
	}
	return nil
}
