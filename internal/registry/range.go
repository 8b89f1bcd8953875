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
// the given entity tag: a span, or several parts; ok is false for 416. Content is
// the same in every state of the cache, so the answer depends on nothing else.
func requestedSpan(r *http.Request, size int64, etag string) (s span, parts []span, ok bool) {
	whole := span{length: size}
	headers := r.Header["Range"]
	if r.Method != http.MethodGet || len(headers) != 1 {
		return whole, nil, true
	}
	// Only a strong match will do (RFC 9110, 13.1.5), and no date is one: there
	// is no Last-Modified.
	if conditions := r.Header["If-Range"]; len(conditions) > 0 && (len(conditions) > 1 || conditions[0] != etag) {
		return whole, nil, true
	}
	return parseRange(headers[0], size)
}

// parseRange reads a Range header (RFC 9110, section 14). Units other than bytes
// and malformed values mean the whole content, as the RFC allows; ok is false if
// no byte is left. Of empty content everything is the whole.
func parseRange(header string, size int64) (s span, parts []span, ok bool) {
	whole := span{length: size}
	unit, value, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(unit, "bytes") || size == 0 {
		return whole, nil, true
	}
	if strings.Contains(value, ",") {
		return parseList(value, size)
	}
	s, valid := parseSpec(strings.Trim(value, " \t"), size)
	if !valid {
		return whole, nil, true
	}
	return s, nil, s.length > 0
}

// parseSpec reads one range. It is valid, but of no byte, if it begins at the end
// or later, is reversed, or is the last zero bytes.
func parseSpec(spec string, size int64) (s span, valid bool) {
	from, to, found := strings.Cut(spec, "-")
	if !found {
		return s, false
	}
	if from == "" {
		suffix, valid := parsePosition(to)
		length := min(suffix, size)
		return span{offset: size - length, length: length, partial: true}, valid
	}
	first, valid := parsePosition(from)
	last := int64(math.MaxInt64)
	if valid && to != "" {
		last, valid = parsePosition(to)
	}
	if !valid || first >= size || last < first {
		return span{}, valid
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

func (x *exchange) errRange(size int64) error {
	return &oci.Error{
		Code: oci.CodeUnsupported, Status: http.StatusRequestedRangeNotSatisfiable,
		Message: x.named(fmt.Sprintf("the range has no byte of the %d that there are", size)),
	}
}
