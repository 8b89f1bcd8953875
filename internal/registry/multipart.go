package registry

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxParts is how many ranges a request may ask for: as many as
	// containers/image does of a layer of which it has most of the files.
	maxParts = 1024
	// maxOverlapping is how many it may ask for of which some overlap. A client that
	// knows which bytes it wants asks for none of them twice.
	maxOverlapping = 32
)

// parseList reads a list of ranges: parts if there are several, or the one that is
// left. Malformed lists and those that no client has a reason to send mean the
// whole content; ok is false if there is no byte of any range.
func parseList(list string, size int64) (s span, parts []span, ok bool) {
	whole := span{length: size}
	asked := 0
	for spec := range strings.SplitSeq(list, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		s, valid := parseSpec(spec, size)
		if asked++; !valid || asked > maxParts {
			return whole, nil, true
		}
		if s.length > 0 {
			parts = append(parts, s)
		}
	}
	apart := merge(parts)
	switch {
	case asked == 0, asked > maxOverlapping && len(apart) < len(parts):
		return whole, nil, true
	case len(apart) == 0:
		return span{}, nil, false
	case len(apart) == 1:
		return apart[0], nil, true
	}
	return span{}, apart, true
}

// merge makes one of ranges that overlap, in the place of the first of them; all
// others stay in the order of the request. Ranges that only touch stay apart too:
// containers/image gives up unless it gets as many parts as it asked for, and it
// asks for neighbours where two files lie side by side.
func merge(parts []span) []span {
	type placed struct {
		span
		at int
	}
	sorted := make([]placed, len(parts))
	for i, s := range parts {
		sorted[i] = placed{s, i}
	}
	slices.SortFunc(sorted, func(a, b placed) int { return cmp.Compare(a.offset, b.offset) })
	apart := sorted[:0]
	for _, s := range sorted {
		if n := len(apart) - 1; n >= 0 && s.offset < apart[n].offset+apart[n].length {
			apart[n].length = max(apart[n].length, s.offset+s.length-apart[n].offset)
			apart[n].at = min(apart[n].at, s.at)
			continue
		}
		apart = append(apart, s)
	}
	slices.SortFunc(apart, func(a, b placed) int { return a.at - b.at })
	merged := make([]span, len(apart))
	for i, s := range apart {
		merged[i] = s.span
	}
	return merged
}

// multipart is the body that holds several parts of some content: a reader of it
// (RFC 9110, section 14.6).
type multipart struct {
	content  io.ReadSeeker
	parts    []span
	of       oci.Descriptor
	boundary string

	next  int    // part to begin with
	left  int64  // bytes of the part that was begun
	frame []byte // what is still to be read before them
	space []byte
}

func newMultipart(content io.ReadSeeker, parts []span, of oci.Descriptor) *multipart {
	// No content holds its own digest.
	boundary := of.Digest.Encoded()
	return &multipart{content: content, parts: parts, of: of, boundary: boundary[:min(len(boundary), 64)]}
}

// length is that of the whole body.
func (m *multipart) length() (n int64) {
	for i, s := range m.parts {
		n += int64(len(m.before(i))) + s.length
	}
	return n + int64(len(m.before(len(m.parts))))
}

// before returns what stands before a part, or after the last one. It is good
// until the next call.
func (m *multipart) before(i int) []byte {
	b := m.space[:0]
	if i > 0 {
		b = append(b, "\r\n"...)
	}
	b = append(append(b, "--"...), m.boundary...)
	if i == len(m.parts) {
		b = append(b, "--\r\n"...)
	} else {
		b = append(append(b, "\r\nContent-Type: "...), m.of.MediaType...)
		b = append(append(b, "\r\nContent-Range: "...), m.parts[i].contentRange(m.of.Size)...)
		b = append(b, "\r\n\r\n"...)
	}
	m.space = b
	return b
}

// Read implements io.Reader. What stands before a part comes together with its
// first bytes, so that nothing of a part is promised before it is there. An io.EOF
// of the content within a part is not one of the body.
func (m *multipart) Read(p []byte) (n int, err error) {
	if m.left == 0 && len(m.frame) == 0 {
		if err := m.begin(); err != nil {
			return 0, err
		}
	}
	n = copy(p, m.frame)
	m.frame = m.frame[n:]
	if n == len(p) || m.left == 0 {
		return n, nil
	}
	got, err := readSome(m.content, p[n:][:min(int64(len(p)-n), m.left)])
	m.left -= int64(got)
	switch {
	case err == io.EOF && m.left == 0:
		err = nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n + got, err
}

// begin begins with the next part, or with the end.
func (m *multipart) begin() error {
	if m.next > len(m.parts) {
		return io.EOF
	}
	if m.next < len(m.parts) {
		s := m.parts[m.next]
		if _, err := m.content.Seek(s.offset, io.SeekStart); err != nil {
			return err
		}
		m.left = s.length
	}
	m.frame = m.before(m.next)
	m.next++
	return nil
}

// sendFileParts answers with several parts of a finished blob.
func (x *response) sendFileParts(blob oci.Blob, parts []span) error {
	if err := checkSize(blob.File, blob.Size); err != nil {
		return err
	}
	body := x.describeParts(blob.Content, parts, partsOf(blob))
	x.commit(http.StatusPartialContent)
	return x.copy(body, body.length(), false)
}

// partsOf is what the parts of a blob are said to be of.
func partsOf(blob oci.Blob) oci.Descriptor {
	return oci.Descriptor{MediaType: oci.MediaTypeOctetStream, Digest: blob.Digest, Size: blob.Size}
}

// describeParts sets the headers of several parts, and returns the body.
func (x *response) describeParts(content io.ReadSeeker, parts []span, of oci.Descriptor) *multipart {
	body := newMultipart(content, parts, of)
	x.set("Content-Type", "multipart/byteranges; boundary="+body.boundary)
	x.set("Content-Length", strconv.FormatInt(body.length(), 10))
	return body
}
