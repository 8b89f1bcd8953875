package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// Writer writes a bundle: Begin, the manifests and blobs, each once and manifests
// before what they point to, Close. Only one goroutine at a time uses it. After an
// error, what was written is of no use.
type Writer struct {
	to      target
	written map[digest.Digest]bool
}

// target is what a bundle is written to.
type target interface {
	// put writes an entry of exactly size bytes.
	put(name string, size int64, r io.Reader) error
	close() error
}

// NewWriter returns a Writer of a tar, without compression. Close leaves w open.
func NewWriter(w io.Writer) *Writer { return newWriter(&tarTarget{tar: tar.NewWriter(w)}) }

func newWriter(to target) *Writer { return &Writer{to: to, written: make(map[digest.Digest]bool)} }

// Begin writes what the bundle says of itself.
func (w *Writer) Begin(x Index) error {
	raw, err := x.encode()
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	const layout = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}` + "\n"
	if err := w.to.put(layoutName, int64(len(layout)), bytes.NewReader([]byte(layout))); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := w.to.put(indexName, int64(len(raw)), bytes.NewReader(raw)); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// Manifest writes a manifest that was verified.
func (w *Writer) Manifest(m oci.Manifest) error {
	return w.put(m.Descriptor(), bytes.NewReader(m.Bytes))
}

// Blob writes a blob of exactly the size of its descriptor. Its errors are those of
// r, too.
func (w *Writer) Blob(d oci.Descriptor, r io.Reader) error { return w.put(d, r) }

func (w *Writer) put(d oci.Descriptor, r io.Reader) error {
	if w.written[d.Digest] {
		return fmt.Errorf("write bundle: %s twice", d.Digest)
	}
	if len(w.written) == maxEntries-2 { // with what the bundle says of itself
		return fmt.Errorf("write bundle: more than %d manifests and blobs are too many: export fewer images at a time", len(w.written))
	}
	w.written[d.Digest] = true
	if err := w.to.put(blobName(d.Digest), d.Size, r); err != nil {
		return fmt.Errorf("write bundle: %s: %w", d.Digest, err)
	}
	return nil
}

// Close ends the bundle. It does not say that all is there which manifests name.
func (w *Writer) Close() error {
	if err := w.to.close(); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// tarTarget writes entries without times and owners.
type tarTarget struct {
	tar     *tar.Writer
	folders map[string]bool
}

func (t *tarTarget) put(name string, size int64, r io.Reader) error {
	if err := t.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	return exactly(t.tar, r, size)
}

// folder writes the entry of a folder, once, and of those above it.
func (t *tarTarget) folder(name string) error {
	if name == "." || t.folders[name] {
		return nil
	}
	if err := t.folder(path.Dir(name)); err != nil {
		return err
	}
	if t.folders == nil {
		t.folders = make(map[string]bool)
	}
	t.folders[name] = true
	return t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (t *tarTarget) close() error { return t.tar.Close() }

// exactly copies size bytes, and reads up to the end: that tells whether they are
// the right ones.
func exactly(w io.Writer, r io.Reader, size int64) error {
	n, err := io.Copy(w, io.LimitReader(r, size))
	if err == nil && n < size {
		err = fmt.Errorf("it has %d bytes of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	switch n, err := io.CopyN(io.Discard, r, 1); {
	case n > 0:
		return fmt.Errorf("it has more than %d bytes", size)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// folderTarget writes files below a directory.
type folderTarget struct {
	root *os.Root
	mode fs.FileMode
}

func (f *folderTarget) put(name string, size int64, r io.Reader) error {
	if err := f.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	return errors.Join(exactly(file, r, size), file.Sync(), file.Close())
}

func (f *folderTarget) close() error { return nil }
