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

// stream reads a bundle in one pass.
type stream struct {
	raw    *tail
	tar    *tar.Reader
	index  Index
	ledger *ledger
	err    error
}

// NewStream reads a bundle that this package has written as a tar, without
// compression, from whatever it comes from: Close does not close that. Another tar is
// ErrOrder. Beyond the end of the tar, it reads up to the end of r.
func NewStream(r io.Reader) (Reader, error) {
	s := &stream{raw: &tail{r: r}}
	s.tar = tar.NewReader(s.raw)
	for _, first := range []struct {
		name string
		most int64
		read func([]byte) error
	}{
		{layoutName, maxLayoutFile, checkLayout},
		{indexName, maxIndex, func(raw []byte) (err error) {
			s.index, err = decodeIndex(raw)
			return err
		}},
	} {
		h, name, err := nextHeader(s.tar)
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
	if !s.index.ordered {
		return nil, fmt.Errorf("%w: another program wrote it", ErrOrder)
	}
	return s, nil
}

// Index implements Reader.
func (s *stream) Index() *Index { return &s.index }

// Size implements Reader.
func (s *stream) Size() int64 { return -1 }

// Close implements Reader.
func (s *stream) Close() error { return nil }

// Next implements Reader.
func (s *stream) Next() (*Entry, error) {
	if s.err != nil {
		return nil, s.err
	}
	e, err := s.next()
	s.err = err
	return e, err
}

func (s *stream) next() (*Entry, error) {
	if s.ledger == nil {
		var err error
		if s.ledger, err = newLedger(&s.index); err != nil {
			return nil, err
		}
	}
	for {
		h, name, err := nextHeader(s.tar)
		if err == io.EOF {
			return nil, s.end()
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		d := digestOf(name)
		w := s.ledger.wants[d]
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, damaged(name, d, "it is a link")
		case d == "":
			return nil, damaged(name, d, "it is not part of a bundle")
		case w == nil:
			return nil, damaged(name, d, "nothing before it in the bundle names it")
		}
		if err := s.ledger.enter(w, name, h.Size); err != nil {
			return nil, err
		}
		if w.manifest {
			return s.ledger.manifest(w, name, s.tar)
		}
		return s.ledger.blob(w, name, s.tar), nil
	}
}

// end returns io.EOF if the bundle ends where it should.
func (s *stream) end() error {
	if err := s.raw.complete(); err != nil {
		return err
	}
	if err := s.ledger.end(); err != nil {
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
func Copy(w *Writer, r Reader, progress func(written, total int64)) error {
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
