package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// Answer is a response that somebody has to close.
type Answer struct {
	*http.Response
	// URL is where it came from; abroad says that a redirect has led away from
	// the origin that was asked.
	URL    *url.URL
	Abroad bool
	// by is who has led to the url, and from the address that the answer came from.
	by   egress.Leader
	From netip.AddrPort
	// errorCodes are those of the body, once hasCode has read it.
	errorCodes []string
	isRead     bool
}

// drainTime is how long the rest of an answer is waited for. Some redirects announce a
// body that never comes.
const drainTime = 500 * time.Millisecond

// Drain closes the answer; a short rest is read so that the connection lives on.
func (a *Answer) Drain() {
	if a.ContentLength != 0 {
		timer := time.AfterFunc(drainTime, func() { _ = a.Body.Close() })
		_, _ = io.CopyN(io.Discard, a.Body, maxErrorBody)
		timer.Stop()
	}
	_ = a.Body.Close()
}

// Read returns the whole body, which must not be longer than limit, and closes it.
func (a *Answer) Read(ctx context.Context, limit int64) ([]byte, error) {
	return a.read(ctx, nil, limit, nil)
}

// ReadInto is Read into the memory of a buffer, as far as that does.
func (a *Answer) ReadInto(ctx context.Context, buffer []byte, limit int64) ([]byte, error) {
	return a.read(ctx, buffer, limit, nil)
}

// ReadWithin is Read of a document for which there has to be room, if it is large.
func (a *Answer) ReadWithin(ctx context.Context, room *oci.Room, limit int64) ([]byte, error) {
	return a.read(ctx, nil, limit, room)
}

func (a *Answer) read(ctx context.Context, buffer []byte, limit int64, room *oci.Room) ([]byte, error) {
	defer a.Body.Close()
	if a.ContentLength > limit {
		return nil, &Failure{
			Class: oci.ClassLength, Status: a.StatusCode,
			Text: fmt.Sprintf("%s sends %d bytes, more than %d", a.URL.Host, a.ContentLength, limit),
		}
	}
	raw, err := a.readUpTo(buffer[:0], limit+1, func(size int64) { room.Take(ctx, size) })
	if err != nil {
		f := AsFailure(ctx, a.URL.Host, err)
		f.Status = a.StatusCode
		return nil, f
	}
	if int64(len(raw)) > limit {
		return nil, &Failure{
			Class: oci.ClassLength, Status: a.StatusCode,
			Text: fmt.Sprintf("%s sends more than %d bytes", a.URL.Host, limit),
		}
	}
	return raw, nil
}

// firstRead is how much memory a body takes at first that does not tell its length.
const firstRead = 16 << 10

// readUpTo reads the body, but no more than limit bytes. A buffer that grew in small
// steps would leave several times its size behind.
func (a *Answer) readUpTo(raw []byte, limit int64, grow func(size int64)) ([]byte, error) {
	if a.ContentLength >= 0 { // no more comes than is announced
		grow(a.ContentLength)
		raw = slices.Grow(raw, int(a.ContentLength))[:a.ContentLength]
		_, err := io.ReadFull(a.Body, raw)
		return raw, err
	}
	for {
		if len(raw) == cap(raw) {
			size := min(limit, 4*int64(cap(raw))+firstRead)
			grow(size)
			raw = append(make([]byte, 0, size), raw...)
		}
		n, err := a.Body.Read(raw[len(raw):min(int64(cap(raw)), limit)])
		raw = raw[:len(raw)+n]
		switch {
		case err == io.EOF || int64(len(raw)) == limit:
			return raw, nil
		case err != nil:
			return raw, err
		}
	}
}

// HasCode reports whether the body is an error document with the given code
// (distribution-spec, "Error Codes"). The body is used up by that.
func (a *Answer) HasCode(code string) bool {
	if !a.isRead {
		a.isRead, a.errorCodes = true, readCodes(a.Body)
	}
	return slices.ContainsFunc(a.errorCodes, func(c string) bool { return strings.EqualFold(c, code) })
}

func readCodes(r io.Reader) (codes []string) {
	var document struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	raw, _ := io.ReadAll(io.LimitReader(r, maxErrorBody))
	if json.Unmarshal(raw, &document) != nil {
		return nil
	}
	for _, e := range document.Errors {
		codes = append(codes, e.Code)
	}
	return codes
}

// Settles reports whether an answer of ClassNotFound is the registry's word. From
// another host it is a storage that lost an object, or a link that has expired, unless
// it is the document of a registry that knows no such thing: registry.k8s.io leaves
// everything to another registry, so no other word will come.
func (a *Answer) Settles() bool {
	return !a.Abroad || a.HasCode(string(oci.CodeManifestUnknown)) || a.HasCode(string(oci.CodeNameUnknown)) ||
		a.HasCode(string(oci.CodeBlobUnknown))
}

// IsPage reports whether an answer is made for people, by what it says of itself: a
// captive portal answers everything with 200.
func (a *Answer) IsPage() bool {
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return mediaType == "text/html"
}

// PageFailure is an answer that is made for people. It does not close it.
func PageFailure(a *Answer) *Failure {
	return &Failure{Class: oci.ClassNotRegistry, Status: a.StatusCode, Text: a.URL.Host + " answered with a web page: check `url`"}
}
