package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the memory that the decompression of a bundle may take.
const maxWindow = 128 << 20

// Open opens a bundle, a layout of another tool or an archive of docker save: a
// directory, or a tar, which may be compressed with zstd or gzip. What has to be
// read in another order than it comes in is unpacked to a file in the folder for
// temporary files first.
func Open(name string) (*Reader, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		if _, err := root.Stat(layoutName); errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(foreign("the folder holds no %s, as image layouts do", layoutName), root.Close())
		}
		r, err := newLayout(folder{root})
		return r.owning(root, err)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	info, err = file.Stat()
	if err == nil && info.Mode().IsRegular() {
		if plain, err := isPlain(file); err != nil {
			return nil, errors.Join(err, file.Close())
		} else if plain {
			return openFile(file)
		}
	}
	r, err := OpenStream(file)
	return r.owning(file, err)
}

// OpenStream is Open for what can be read only once, such as standard input. Close
// does not close it.
func OpenStream(r io.Reader) (*Reader, error) {
	plain, err := decompress(r)
	if err != nil {
		return nil, err
	}
	// What was read is kept until it is clear that it need not be read again.
	head := &rewinder{r: plain}
	s, err := NewStream(head)
	if !errors.Is(err, ErrOrder) {
		head.kept, head.done = nil, true
		return s.owning(plain, err)
	}
	defer plain.Close()
	return spool(io.MultiReader(append(head.kept, plain)...))
}

// spool writes a tar to a file that goes with the process.
func spool(r io.Reader) (*Reader, error) {
	file, err := os.CreateTemp("", "pullgate-import-")
	if err != nil {
		return nil, fmt.Errorf("unpack bundle: %w", err)
	}
	err = os.Remove(file.Name())
	if err == nil {
		_, err = io.Copy(file, r)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = damaged("", "", "it ends too early: %w", err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpack bundle to %s: %w", os.TempDir(), err), file.Close())
	}
	return openFile(file)
}

// openFile opens a tar in a file, without compression, and closes the file if it
// is not one.
func openFile(file randomAccess) (r *Reader, err error) {
	a, err := openArchive(file)
	switch {
	case err != nil:
	case a.has(layoutName):
		r, err = newLayout(a)
	case a.has(dockerName):
		r, err = newDocker(a)
	default:
		err = foreign("it holds neither %s nor %s, as image layouts and what docker save writes do", layoutName, dockerName)
	}
	return r.owning(file, err)
}

var (
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicGzip = []byte{0x1f, 0x8b}
)

// isPlain reports whether a file is not compressed.
func isPlain(file *os.File) (bool, error) {
	head := make([]byte, len(magicZstd))
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("open bundle: %w", err)
	}
	head = head[:n]
	return !bytes.HasPrefix(head, magicZstd) && !bytes.HasPrefix(head, magicGzip), nil
}

// decompress finds out how r is compressed.
func decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	head, err := buffered.Peek(len(magicZstd))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		return &unpacked{z.IOReadCloser()}, nil
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, foreign("it cannot be decompressed with gzip: %w", err)
		}
		return &unpacked{z}, nil
	}
	return io.NopCloser(buffered), nil
}

// unpacked makes damage of what cannot be decompressed.
type unpacked struct{ io.ReadCloser }

// Read implements io.Reader.
func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.ReadCloser.Read(b)
	for _, damage := range []error{
		gzip.ErrChecksum, gzip.ErrHeader, zstd.ErrMagicMismatch, zstd.ErrCRCMismatch, zstd.ErrReservedBlockType,
		zstd.ErrCompressedSizeTooBig, zstd.ErrBlockTooSmall, zstd.ErrWindowSizeExceeded, zstd.ErrWindowSizeTooSmall,
		zstd.ErrFrameSizeExceeded, zstd.ErrFrameSizeMismatch, zstd.ErrUnknownDictionary, zstd.ErrUnexpectedBlockSize,
	} {
		if errors.Is(err, damage) {
			return n, damaged("", "", "it cannot be decompressed: %w", err)
		}
	}
	return n, err
}

// rewinder keeps what is read until that is known not to be needed again.
type rewinder struct {
	r    io.Reader
	kept []io.Reader // in pieces, since a buffer that grows takes three times as much
	done bool
}

// Read implements io.Reader.
func (w *rewinder) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if !w.done && n > 0 {
		w.kept = append(w.kept, bytes.NewReader(bytes.Clone(b[:n])))
	}
	return n, err
}
