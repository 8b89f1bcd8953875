package bundle

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/pullgate/pullgate/internal/oci"
)

// ErrOrder means that a tar is not in the order of bundles, and has to lie in a file
// to be read.
var ErrOrder = errors.New("the tar is not in the order of a bundle")

// maxTrailer is how many bytes may follow the end of a tar, which tar fills up to
// whole records.
const maxTrailer = 1 << 20

// tail counts the zeros at the end of what was read: those of a tar that is
// complete fill a block at least.
type tail struct {
	r     io.Reader
	zeros int
}

// Read implements io.Reader.
func (t *tail) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	zeros := 0
	for zeros < min(n, tarBlock) && b[n-1-zeros] == 0 {
		zeros++
	}
	if zeros == n {
		zeros += t.zeros
	}
	t.zeros = zeros
	return n, err
}

// complete refuses a tar that does not end as tars do.
func (t *tail) complete() error {
	if t.zeros < tarBlock {
		return damaged("", "", "it ends too early")
	}
	return nil
}

const tarBlock = 512

// stream is a source that is read in one pass.
type stream struct {
	raw *tail
	tar *tar.Reader
}

// NewStream reads a bundle that this package has written as a tar, without
// compression, from whatever it comes from: Close does not close that. Another tar is
// ErrOrder. Beyond the end of the tar, it reads up to the end of r.
func NewStream(r io.Reader) (*Reader, error) {
	s, index := &stream{raw: &tail{r: r}}, Index{}
	s.tar = tar.NewReader(s.raw)
	for _, first := range []struct {
		name string
		most int64
		read func([]byte) error
	}{
		{layoutName, maxLayoutFile, checkLayout},
		{indexName, maxIndex, func(raw []byte) (err error) {
			index, err = decodeIndex(raw)
			return err
		}},
	} {
		h, name, err := nextHeader(s.tar, first.name == layoutName)
		if err == io.EOF && first.name == layoutName {
			return nil, foreign("it is empty")
		}
		if err == io.EOF {
			return nil, errors.Join(s.raw.complete(), damaged(first.name, "", "it is missing"))
		}
		if err != nil {
			return nil, err
		}
		if name != first.name || h.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%w: %q comes before %s", ErrOrder, oci.Clip(name), first.name)
		}
		raw, err := readSmall(name, s.tar, h.Size, first.most)
		if err == nil {
			err = first.read(raw)
		}
		if err != nil {
			return nil, err
		}
	}
	if !index.ordered {
		return nil, fmt.Errorf("%w: another program wrote it", ErrOrder)
	}
	return &Reader{index: index, source: s}, nil
}

// left implements source.
func (s *stream) left(*ledger) int64 { return -1 }

// next implements source.
func (s *stream) next(l *ledger) (*wanted, piece, error) {
	for {
		h, name, err := nextHeader(s.tar, false)
		if err == io.EOF {
			err = s.end(l)
		}
		if err != nil {
			return nil, piece{}, err
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		d := digestOf(name)
		w := l.wants[d]
		switch {
		case h.Typeflag != tar.TypeReg:
			err = damaged(name, d, "it is a link")
		case d == "":
			err = damaged(name, d, "it is not part of a bundle")
		case w == nil:
			err = damaged(name, d, "nothing before it in the bundle names it")
		}
		return w, piece{io.NopCloser(s.tar), name, h.Size}, err
	}
}

// end returns io.EOF if the bundle ends where it should.
func (s *stream) end(l *ledger) error {
	if err := s.raw.complete(); err != nil {
		return err
	}
	if err := l.end(); err != nil {
		return err
	}
	// What is compressed has its checksum there.
	n, err := io.Copy(io.Discard, io.LimitReader(s.raw, maxTrailer+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return damaged("", "", "it ends too early: %w", err)
	case err != nil:
		return err
	case n > maxTrailer:
		return damaged("", "", "more than %d bytes follow its end", maxTrailer)
	}
	return io.EOF
}

// Copy writes all that a Reader holds as a bundle. Each piece is verified on the
// way. progress, if it is not nil, is called with how many bytes of content were
// written, and of how many; -1 = unknown.
func Copy(w *Writer, r *Reader, progress func(written, total int64)) error {
	if err := w.Begin(*r.Index()); err != nil {
		return err
	}
	var written, total int64
	tell := func(n int) {
		if written += int64(n); progress != nil {
			progress(written, total)
		}
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w.Close()
		}
		if err != nil {
			return err
		}
		if total = r.Size(); total >= 0 {
			total += written + e.Descriptor.Size
		}
		if e.Manifest != nil {
			tell(len(e.Manifest.Bytes))
			err = w.Manifest(*e.Manifest)
		} else {
			content := &counted{r: e.Content, tell: tell}
			if err = w.Blob(e.Descriptor, content); content.err != nil {
				err = content.err // it is no matter where that was to go
			}
		}
		if err != nil {
			return err
		}
	}
}

// counted tells how much is read, and keeps the error that ended it, unless that was the end.
type counted struct {
	r    io.Reader
	tell func(n int)
	err  error
}

// Read implements io.Reader.
func (t *counted) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.tell(n)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}
