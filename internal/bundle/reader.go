package bundle

import (
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Reader hands out what a bundle holds, once: manifests before what they point to,
// then blobs. Only one goroutine at a time uses it; the caller closes it.
type Reader interface {
	// Index returns what the bundle says of itself. The receiver may change it.
	Index() *Index
	// Next returns the next entry, or io.EOF after the last. It ends the one before.
	// After any other error, nothing more follows.
	Next() (*Entry, error)
	// Size returns how many bytes there are to come, as far as that is known; -1 = not.
	Size() int64
	io.Closer
}

// Entry is one manifest or blob.
type Entry struct {
	// Name is where it lies in the bundle, Image the first image that needs it.
	Name, Image string
	// Descriptor has the digest, and the exact size.
	Descriptor oci.Descriptor
	// Manifest and Contents are set if it is a manifest, which was verified.
	Manifest *oci.Manifest
	Contents oci.Contents
	// Content is that of a blob. It returns io.EOF only after it was verified, and a
	// *DamageError if it is not what the digest says. It need not be read.
	Content io.Reader
}

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
