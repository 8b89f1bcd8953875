package registry

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// span is the part of some content that an answer holds.
type span struct {
	offset, length int64
	// partial makes the answer a 206, also where the part is the whole.
	partial bool
}

// requestedSpan returns what a request wants of content of the given size with
// the given entity tag; ok is false for 416. Content is the same in every state
// of the cache, so the answer depends on nothing else.
func requestedSpan(r *http.Request, size int64, etag string) (s span, ok bool) {
	whole := span{length: size}
	headers := r.Header["Range"]
	if r.Method != http.MethodGet || len(headers) != 1 {
		return whole, true
	}
	// Only a strong match will do (RFC 9110, 13.1.5), and no date is one: there
	// is no Last-Modified.
	if conditions := r.Header["If-Range"]; len(conditions) > 0 && (len(conditions) > 1 || conditions[0] != etag) {
		return whole, true
	}
	return parseRange(headers[0], size)
}

// parseRange reads a Range header (RFC 9110, section 14). Units other than
// bytes, malformed values and lists of ranges mean the whole content, as the
// RFC allows; ok is false for a range that begins at the end or later, that is
// reversed, or that is the last zero bytes. Of empty content everything is the
// whole.
func parseRange(header string, size int64) (s span, ok bool) {
	whole := span{length: size}
	unit, value, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(unit, "bytes") || size == 0 {
		return whole, true
	}
	from, to, found := strings.Cut(strings.Trim(value, " \t"), "-")
	if !found {
		return whole, true
	}
	if from == "" {
		suffix, valid := parsePosition(to)
		if !valid {
			return whole, true
		}
		length := min(suffix, size)
		return span{offset: size - length, length: length, partial: true}, suffix > 0
	}
	first, valid := parsePosition(from)
	if !valid {
		return whole, true
	}
	last := int64(math.MaxInt64)
	if to != "" {
		if last, valid = parsePosition(to); !valid {
			return whole, true
		}
	}
	if first >= size || last < first {
		return span{}, false
	}
	last = min(last, size-1)
	return span{offset: first, length: last - first + 1, partial: true}, true
}

// parsePosition reads decimal digits. What no int64 holds becomes the greatest
// one: it lies behind any content.
func parsePosition(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if digit := int64(c - '0'); n <= (math.MaxInt64-digit)/10 {
			n = n*10 + digit
		} else {
			n = math.MaxInt64
		}
	}
	return n, true
}

// contentRange is the header of a 206.
func (s span) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.offset, s.offset+s.length-1, size)
}

func errRange(size int64) error {
	return &oci.Error{
		Code: oci.CodeUnsupported, Status: http.StatusRequestedRangeNotSatisfiable,
		Message: fmt.Sprintf("the range has no byte of the %d that there are", size),
	}
}
