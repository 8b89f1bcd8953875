package bundle

import (
	"errors"
	"io"

	"github.com/pullgate/pullgate/internal/oci"
)

// Reader hands out what a bundle holds, once: manifests before what they point to,
// then blobs. Only one goroutine at a time uses it; the caller closes it.
type Reader struct {
	index  Index
	source source
	ledger *ledger     // made by the first Next
	entry  io.Closer   // the one that was handed out last
	below  []io.Closer // what all is read from
	err    error
}

// source is where the entries come from.
type source interface {
	// next returns an entry, and what is known of it; io.EOF after the last, and after the
	// end was found to be right.
	next(l *ledger) (*wanted, piece, error)
	// left returns how many bytes of blobs are to come; -1 = unknown.
	left(l *ledger) int64
}

// piece is an entry that is open, under the name that it really has.
type piece struct {
	io.ReadCloser

	name string
	size int64
}

// owning gives a Reader what it closes, or closes it if there is no Reader.
func (r *Reader) owning(below io.Closer, err error) (*Reader, error) {
	if err != nil {
		return nil, errors.Join(err, below.Close())
	}
	r.below = append(r.below, below)
	return r, nil
}

// Index returns what the bundle says of itself. The receiver may change it before the
// first Next.
func (r *Reader) Index() *Index { return &r.index }

// Size returns how many bytes of blobs there are to come, as far as that is known; -1 =
// unknown.
func (r *Reader) Size() int64 {
	if r.ledger == nil {
		return -1
	}
	return r.source.left(r.ledger)
}

// Next returns the next entry, or io.EOF after the last. It ends the one before. After
// any other error, nothing more follows.
func (r *Reader) Next() (e *Entry, err error) {
	if r.err == nil {
		e, r.err = r.next()
	}
	return e, r.err
}

func (r *Reader) next() (*Entry, error) {
	if err := r.closeEntry(); err != nil {
		return nil, err
	}
	if r.ledger == nil {
		var err error
		if r.ledger, err = newLedger(&r.index); err != nil {
			return nil, err
		}
	}
	w, p, err := r.source.next(r.ledger)
	if err != nil {
		return nil, err
	}
	r.entry = p
	if err := r.ledger.enter(w, p.name, p.size); err != nil {
		return nil, err
	}
	if w.manifest {
		return r.ledger.manifest(w, p.name, p)
	}
	return r.ledger.blob(w, p.name, p), nil
}

func (r *Reader) closeEntry() (err error) {
	if r.entry != nil {
		err = r.entry.Close()
	}
	r.entry = nil
	return err
}

// Close closes what Open has opened.
func (r *Reader) Close() error {
	err := r.closeEntry()
	for _, c := range r.below {
		err = errors.Join(err, c.Close())
	}
	return err
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
