package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

func blobOperation(op, verb, repository string, d digest.Digest) operation {
	return operation{
		op: op, kind: kindBlobs, verb: verb, repository: repository, object: "@" + d.String(), unknown: oci.CodeBlobUnknown,
	}
}

// HeadBlob proves that the repository has a blob, and returns its size; -1 if
// the upstream does not tell.
//
// A redirect to another host is not followed with HEAD: such URLs are mostly
// signed for GET alone. Then, and where the registry refuses HEAD, the first
// byte is asked for in its place.
func (c *Client) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return -1, err
	}
	op := blobOperation(opHeadBlob, "look up blob", repository, d)
	return each(ctx, c, op, func(ctx context.Context, e *endpoint, _ *lease) (int64, error) {
		if e.headless.Load() {
			return c.probe(ctx, e, op, d)
		}
		a, err := c.ask(ctx, e, query{operation: op, method: http.MethodHead, rest: "blobs/" + d.String(), stay: true})
		if err == nil {
			defer a.drain()
			switch class := classOfStatus(a.StatusCode); {
			case a.StatusCode == http.StatusOK:
				if err := a.checkContent(); err != nil {
					return -1, err
				}
				return a.ContentLength, nil
			case a.StatusCode != http.StatusMethodNotAllowed && class != oci.ClassRedirect && class != oci.ClassDenied:
				return -1, statusFailure(a, c.o.Now())
			}
		} else if asFailure(ctx, e.base.Host, err).class != oci.ClassDenied {
			return -1, err
		}
		size, err := c.probe(ctx, e, op, d)
		if err == nil {
			e.headless.Store(true)
		}
		return size, err
	})
}

// probe gets the first byte of a blob for its size.
func (c *Client) probe(ctx context.Context, e *endpoint, op operation, d digest.Digest) (int64, error) {
	a, err := c.getBlob(ctx, e, op, d, "bytes=0-0")
	if err != nil {
		return -1, err
	}
	defer a.Body.Close()
	if err := a.checkContent(); err != nil {
		return -1, err
	}
	switch a.StatusCode {
	case http.StatusOK:
		return a.ContentLength, nil
	case http.StatusPartialContent:
		r, err := parseContentRange(a.Header.Get("Content-Range"))
		if err != nil {
			return -1, nil // it is there, and that is what was asked first of all
		}
		return r.size, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if strings.TrimSpace(a.Header.Get("Content-Range")) == "bytes */0" {
			return 0, nil
		}
	}
	return -1, statusFailure(a, c.o.Now())
}

// Blob gets the bytes [offset, offset+length) of a blob, to the end if length
// is negative. The bytes are not verified, but their number is. Reads end in
// io.ErrUnexpectedEOF when the body was cut, and in an *oci.Error of
// ClassTimeout when no byte came for Timeouts.Idle.
func (c *Client) Blob(
	ctx context.Context, repository string, d digest.Digest, offset, length int64,
) (oci.BlobBody, error) {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return oci.BlobBody{}, err
	}
	if offset < 0 || length == 0 {
		return oci.BlobBody{}, fmt.Errorf("get blob %s: no bytes at offset %d, length %d", d, offset, length)
	}
	op := blobOperation(opGetBlob, "get blob", repository, d)
	var header string
	switch {
	case length > 0:
		header = fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
	case offset > 0:
		header = fmt.Sprintf("bytes=%d-", offset)
	}
	return each(ctx, c, op, func(ctx context.Context, e *endpoint, l *lease) (_ oci.BlobBody, err error) {
		leave := e.inflight.enter(c.o.Now)
		defer func() {
			if err != nil {
				err = e.inflight.judge(ctx, e.base.Host, err, c.o.Now())
				leave(false)
			}
		}()
		if offset == 0 { // what follows, the registry has had before
			defer l.appeal(func() bool { return c.alive(ctx, e) }, c.o.Timeouts.Patience)()
		}
		a, err := c.getBlob(ctx, e, op, d, header)
		if err != nil {
			return oci.BlobBody{}, err
		}
		b, err := c.openBody(ctx, a, op, offset, length, header != "")
		if err != nil {
			a.drain()
			return oci.BlobBody{}, err
		}
		if !l.keep() {
			_ = a.Body.Close()
			return oci.BlobBody{}, errBudget
		}
		b.ReadCloser.(*body).cancel = counted(l.cancel, leave)
		return b, nil
	})
}

func (c *Client) getBlob(ctx context.Context, e *endpoint, op operation, d digest.Digest, rng string) (*answer, error) {
	q := query{operation: op, method: http.MethodGet, rest: "blobs/" + d.String()}
	if rng != "" {
		q.header = http.Header{"Range": {rng}}
	}
	return c.ask(ctx, e, q)
}

// openBody checks the header of an answer against what was asked for.
func (c *Client) openBody(
	ctx context.Context, a *answer, op operation, offset, length int64, ranged bool,
) (oci.BlobBody, error) {
	partial := a.StatusCode == http.StatusPartialContent
	if a.StatusCode != http.StatusOK && (!partial || !ranged) {
		return oci.BlobBody{}, statusFailure(a, c.o.Now())
	}
	if err := a.checkContent(); err != nil {
		return oci.BlobBody{}, err
	}
	b := &body{c: c, inner: a.Body, ctx: ctx, op: op, host: a.url.Host, status: a.StatusCode, left: a.ContentLength}
	opened := oci.BlobBody{ReadCloser: b, Size: a.ContentLength}
	if in, ok := a.Body.(*arriving); ok {
		opened.Queued = func() int64 { return queued(in.conn) }
	}
	if !partial {
		return opened, nil
	}
	wrong := func(why string) error {
		return &failure{class: oci.ClassLength, status: a.StatusCode, text: a.url.Host + " sent " + why}
	}
	r, err := parseContentRange(a.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return oci.BlobBody{}, wrong("a part without saying which")
	case r.start != offset, length > 0 && r.end >= offset+length:
		return oci.BlobBody{}, wrong("another part than it was asked for")
	case a.ContentLength >= 0 && a.ContentLength != r.end-r.start+1:
		return oci.BlobBody{}, wrong("a part of another length than it says")
	case length < 0 && r.size >= 0 && r.end != r.size-1:
		return oci.BlobBody{}, wrong("less than the rest of the blob")
	}
	b.left = r.end - r.start + 1
	opened.Offset, opened.Size = offset, r.size
	return opened, nil
}

// contentRange is a Content-Range: bytes [start, end] of size; -1 = unknown.
type contentRange struct{ start, end, size int64 }

var errContentRange = errors.New("no valid Content-Range")

// parseContentRange reads "bytes 0-9/10" and "bytes 0-9/*" (RFC 9110, section
// 14.4).
func parseContentRange(s string) (contentRange, error) {
	s, isBytes := strings.CutPrefix(strings.TrimSpace(s), "bytes ")
	part, size, hasSize := strings.Cut(s, "/")
	start, end, hasEnd := strings.Cut(part, "-")
	if !isBytes || !hasSize || !hasEnd {
		return contentRange{}, errContentRange
	}
	r := contentRange{size: -1}
	var err error
	if r.start, err = parseCount(start); err != nil {
		return contentRange{}, err
	}
	if r.end, err = parseCount(end); err != nil {
		return contentRange{}, err
	}
	if strings.TrimSpace(size) != "*" {
		if r.size, err = parseCount(size); err != nil {
			return contentRange{}, err
		}
	}
	if r.end < r.start || r.size >= 0 && r.end >= r.size {
		return contentRange{}, errContentRange
	}
	return r, nil
}

func parseCount(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errContentRange
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == 1<<63-1 {
		return 0, errContentRange
	}
	return n, nil
}
