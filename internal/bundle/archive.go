package bundle

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// maxEntries is how many entries an archive may have, and how many manifests and blobs
// those may name: a small file that is unpacked takes some dozens of MiB of memory.
const maxEntries = 1 << 18

// place is where the content of an entry lies in the file.
type place struct {
	offset, size int64
	// link is where a symbolic link leads to, within the archive; empty = it is a
	// file.
	link string
}

// randomAccess is a file, or stands for one.
type randomAccess interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

// archive is a tar in a file, without compression.
type archive struct {
	file    randomAccess
	entries map[string]place
}

// openArchive finds out where everything lies. It reads headers only.
func openArchive(file randomAccess) (*archive, error) {
	length, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := &archive{file: file, entries: make(map[string]place)}
	first := true
	for t := tar.NewReader(file); ; first = false {
		h, name, err := nextHeader(t, first)
		if err == io.EOF && len(a.entries) == 0 {
			return nil, foreign("it is empty")
		}
		if err == io.EOF {
			return a, a.complete()
		}
		if err != nil {
			return nil, err
		}
		var at place
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeSymlink:
			if at.link, err = inside(name, h.Linkname); err != nil {
				return nil, err
			}
		default:
			at.size = h.Size
			if at.offset, err = file.Seek(0, io.SeekCurrent); err != nil {
				return nil, err
			}
			if at.size > length-at.offset {
				return nil, damaged(name, digestOf(name), "the bundle ends in the middle of it, after %d bytes of %d",
					length-at.offset, at.size)
			}
		}
		if _, ok := a.entries[name]; ok {
			return nil, damaged(name, digestOf(name), "it is there twice")
		}
		if len(a.entries) == maxEntries {
			return nil, damaged("", "", "it has more than %d entries", maxEntries)
		}
		a.entries[name] = at
	}
}

// complete refuses a tar that does not end as tars do. The file stands behind its
// end.
func (a *archive) complete() error {
	end, err := a.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	last := &tail{r: io.NewSectionReader(a.file, max(end-tarBlock, 0), tarBlock)}
	if _, err := io.Copy(io.Discard, last); err != nil {
		return err
	}
	return last.complete()
}

// nextHeader reads the header of the next entry, and returns its name; io.EOF behind
// the last one. What has no first one is no tar.
func nextHeader(t *tar.Reader, first bool) (h *tar.Header, name string, err error) {
	switch h, err = t.Next(); {
	case err == nil:
		name, err = checkHeader(h)
		return h, name, err
	case errors.Is(err, io.EOF):
		return nil, "", io.EOF
	case first && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong)):
		return nil, "", foreign("it is no tar, as it is or compressed with zstd or gzip")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, "", damaged("", "", "it ends too early: %w", err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
		return nil, "", damaged("", "", "%w", err)
	}
	return nil, "", err
}

// checkHeader returns the name of an entry, without the "./" that tar puts before
// names, unless it is of a kind that bundles do not have.
func checkHeader(h *tar.Header) (string, error) {
	name := strings.TrimSuffix(h.Name, "/")
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return name, nil
	case tar.TypeReg, tar.TypeSymlink, tar.TypeDir:
	default:
		return "", damaged(name, digestOf(name), "it is no file and no folder: type %q", h.Typeflag)
	}
	if name == "" || name == "." {
		if h.Typeflag == tar.TypeDir {
			return ".", nil
		}
		return "", damaged(h.Name, "", "it has no name")
	}
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", damaged(h.Name, "", "the name leads out of the bundle")
	}
	if h.Size < 0 || h.Size > maxBlob {
		return "", damaged(name, digestOf(name), "it has %d bytes, %d are the most", h.Size, int64(maxBlob))
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", damaged(name, digestOf(name), "it is a sparse file")
		}
	}
	return name, nil
}

// inside returns where a symbolic link leads to.
func inside(name, target string) (string, error) {
	to := path.Join(path.Dir(name), target)
	if path.IsAbs(target) || !fs.ValidPath(to) || to == "." {
		return "", damaged(name, digestOf(name), "it is a link out of the bundle, to %q", oci.Clip(target))
	}
	return to, nil
}

func (a *archive) has(name string) bool {
	_, ok := a.entries[name]
	return ok
}

func (a *archive) open(name string) (piece, error) {
	at, ok := a.entries[name]
	if !ok {
		return piece{}, fs.ErrNotExist
	}
	if at.link != "" {
		return piece{}, damaged(name, digestOf(name), "it is a link")
	}
	return piece{io.NopCloser(io.NewSectionReader(a.file, at.offset, at.size)), name, at.size}, nil
}

// follow returns the name of the file that a name means: that of a link is the
// one it leads to.
func (a *archive) follow(name string) string {
	if at := a.entries[name]; at.link != "" {
		return at.link
	}
	return name
}
