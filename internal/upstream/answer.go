package upstream

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
)

// answer is a response that somebody has to close.
type answer struct {
	*http.Response
	// url is where it came from; abroad says that a redirect has led away from
	// the origin that was asked.
	url    *url.URL
	abroad bool
	// by is who has led to the url, and from the address that the answer came from.
	by   leader
	from netip.AddrPort
	// errorCodes are those of the body, once hasCode has read it.
	errorCodes []string
	isRead     bool
}

// drainTime is how long the rest of an answer is waited for. Some redirects announce a
// body that never comes.
const drainTime = 500 * time.Millisecond

// drain closes the answer; a short rest is read so that the connection lives on.
func (a *answer) drain() {
	if a.ContentLength != 0 {
		timer := time.AfterFunc(drainTime, func() { _ = a.Body.Close() })
		_, _ = io.CopyN(io.Discard, a.Body, maxErrorBody)
		timer.Stop()
	}
	_ = a.Body.Close()
}

// read returns the whole body, which must not be longer than limit, and closes it.
func (a *answer) read(ctx context.Context, limit int64) ([]byte, error) {
	defer a.Body.Close()
	if a.ContentLength > limit {
		return nil, &failure{
			class: oci.ClassLength, status: a.StatusCode,
			text: fmt.Sprintf("%s sends %d bytes, more than %d", a.url.Host, a.ContentLength, limit),
		}
	}
	raw, err := a.readUpTo(limit + 1)
	if err != nil {
		f := asFailure(ctx, a.url.Host, err)
		f.status = a.StatusCode
		return nil, f
	}
	if int64(len(raw)) > limit {
		return nil, &failure{
			class: oci.ClassLength, status: a.StatusCode,
			text: fmt.Sprintf("%s sends more than %d bytes", a.url.Host, limit),
		}
	}
	return raw, nil
}

// readUpTo reads the body, but no more than limit bytes.
func (a *answer) readUpTo(limit int64) ([]byte, error) {
	if a.ContentLength < 0 || a.ContentLength > limit {
		return io.ReadAll(io.LimitReader(a.Body, limit))
	}
	raw := make([]byte, a.ContentLength) // no more comes than is announced
	_, err := io.ReadFull(a.Body, raw)
	return raw, err
}

// hasCode reports whether the body is an error document with the given code
// (distribution-spec, "Error Codes"). The body is used up by that.
func (a *answer) hasCode(code string) bool {
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

// settles reports whether an answer of ClassNotFound is the registry's word. From
// another host it is a storage that lost an object, or a link that has expired, unless
// it is the document of a registry that knows no such thing: registry.k8s.io leaves
// everything to another registry, so no other word will come.
func (a *answer) settles() bool {
	return !a.abroad || a.hasCode(string(oci.CodeManifestUnknown)) || a.hasCode(string(oci.CodeNameUnknown)) ||
		a.hasCode(string(oci.CodeBlobUnknown))
}

// isStale reports whether an answer to a GET may be due to the redirect that led
// to it. The URL that a registry redirects to is good for a while only and for
// what it was signed for, and it may name a replica that does not have
// everything yet; the registry can give a better one.
func (a *answer) isStale(of kind) bool {
	if !a.abroad {
		return false
	}
	switch a.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return !a.settles() || a.hasCode(string(oci.CodeBlobUnknown))
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return of == blobs
	}
	return false
}

// isPage reports whether an answer is made for people, by what it says of itself: a
// captive portal answers everything with 200.
func (a *answer) isPage() bool {
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return mediaType == "text/html"
}

func pageFailure(a *answer) *failure {
	return &failure{class: oci.ClassNotRegistry, status: a.StatusCode, text: a.url.Host + " answered with a web page: check `url`"}
}
