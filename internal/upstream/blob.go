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
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

func blobOperation(op, repository string, d digest.Digest) operation {
	return operation{op: op, kind: blobs, repository: repository, object: "@" + d.String(), unknown: oci.CodeBlobUnknown}
}

// HeadBlob proves that the repository has a blob, and returns its size; -1 if
// the upstream does not tell.
//
// Nothing that a HEAD refuses is final: proxies do not know what they have not
// fetched yet, and signed URLs are good for one method. Then the first byte is asked
// for. For the same reason a redirect to another host is not followed with HEAD.
func (c *Client) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return -1, err
	}
	op := blobOperation(wire.OpHeadBlob, repository, d)
	return each(ctx, c, op, func(ctx context.Context, v *visit) (int64, error) { return v.blobSize(ctx, d) })
}

func (v *visit) blobSize(ctx context.Context, d digest.Digest) (int64, error) {
	return headFirst(v, func() (size int64, ok, chance bool, err error) {
		size, chance, err = v.headBlob(ctx, d)
		return size, size != refusedHead, chance, err
	}, func() (int64, error) { return v.probe(ctx, d) })
}

// refusedHead stands for the size of a blob whose HEAD was refused.
const refusedHead = -2

// headBlob returns the size that a HEAD tells. chance says that the next one may
// fare better than one that was refused.
func (v *visit) headBlob(ctx context.Context, d digest.Digest) (size int64, chance bool, err error) {
	ctx, done := v.briefly(ctx)
	defer done()
	o := v.outgoing(wire.OpHeadBlob, http.MethodHead, "blobs/"+d.String(), nil, nil)
	o.Stay = true
	a, err := v.ask(ctx, o)
	if err != nil {
		if f := wire.AsFailure(ctx, v.e.base.Host, err); !isUnsettled(f) {
			return -1, false, f
		}
		return refusedHead, false, nil
	}
	defer a.Drain()
	if a.StatusCode == http.StatusOK && !a.IsPage() && (a.ContentLength != 0 || oci.Verify(d, nil)) {
		return a.ContentLength, false, nil
	}
	v.headRefused(a)
	return refusedHead, !wire.IsRedirect(a.StatusCode) && byChance(a.StatusCode), nil
}

// probe gets the first byte of a blob for its size. Where a range is not to the
// taste of the registry, it begins to get the whole.
func (v *visit) probe(ctx context.Context, d digest.Digest) (int64, error) {
	size, f := v.probeRange(ctx, d, "bytes=0-0")
	if f != nil && !f.Unasked {
		switch f.Status {
		case http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented:
			size, f = v.probeRange(ctx, d, "")
		}
	}
	if f != nil {
		return -1, f
	}
	return size, nil
}

func (v *visit) probeRange(ctx context.Context, d digest.Digest, rng string) (int64, *wire.Failure) {
	a, err := v.getBlob(ctx, wire.OpHeadBlob, d, rng)
	if err != nil {
		return -1, wire.AsFailure(ctx, v.e.base.Host, err)
	}
	defer a.Body.Close()
	switch status := a.StatusCode; {
	case status == http.StatusPartialContent && rng != "":
		r, err := parseContentRange(a.Header.Get("Content-Range"))
		if err != nil {
			return -1, nil // it is there, and that is what was asked first of all
		}
		return r.size, nil
	case status == http.StatusRequestedRangeNotSatisfiable && strings.TrimSpace(a.Header.Get("Content-Range")) == "bytes */0":
		return 0, nil
	case status != http.StatusOK:
		return -1, v.session.StatusFailure(a)
	case a.IsPage():
		return -1, wire.PageFailure(a)
	}
	return a.ContentLength, nil
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
	op := blobOperation(wire.OpGetBlob, repository, d)
	var header string
	switch {
	case length > 0:
		header = fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
	case offset > 0:
		header = fmt.Sprintf("bytes=%d-", offset)
	}
	return each(ctx, c, op, func(ctx context.Context, v *visit) (_ oci.BlobBody, err error) {
		leave := v.e.inflight.enter(c.o.Now)
		defer func() {
			if err != nil {
				err = v.e.inflight.judge(ctx, v.e.base.Host, err, c.o.Now())
				leave(false)
			}
		}()
		if offset == 0 { // what follows, the registry has had before
			defer v.lease.appeal(func() bool { return v.e.alive(ctx) }, c.o.Timeouts.Patience)()
		}
		a, err := v.getBlob(ctx, wire.OpGetBlob, d, header)
		if err != nil {
			return oci.BlobBody{}, err
		}
		b, err := v.openBody(ctx, a, offset, length, header != "")
		if err != nil {
			a.Drain()
			return oci.BlobBody{}, err
		}
		if !v.lease.keep() {
			_ = a.Body.Close()
			return oci.BlobBody{}, wire.ErrBudget
		}
		b.ReadCloser.(*body).cancel = counted(v.lease.cancel, leave)
		return b, nil
	})
}

func (v *visit) getBlob(ctx context.Context, op string, d digest.Digest, rng string) (*wire.Answer, error) {
	header := http.Header{}
	if rng != "" {
		header.Set("Range", rng)
	}
	return v.ask(ctx, v.outgoing(op, http.MethodGet, "blobs/"+d.String(), nil, header))
}

// openBody checks the header of an answer against what was asked for. What it says
// of type and encoding counts for nothing: the digest tells if the bytes are right.
func (v *visit) openBody(ctx context.Context, a *wire.Answer, offset, length int64, ranged bool) (oci.BlobBody, error) {
	partial := a.StatusCode == http.StatusPartialContent
	if a.StatusCode != http.StatusOK && (!partial || !ranged) {
		return oci.BlobBody{}, v.session.StatusFailure(a)
	}
	if offset > 0 && !partial && a.IsPage() {
		return oci.BlobBody{}, wire.PageFailure(a) // and what was got before was none
	}
	b := &body{c: v.c, inner: a.Body, ctx: ctx, op: v.operation, host: a.URL.Host, status: a.StatusCode, left: a.ContentLength}
	opened := oci.BlobBody{ReadCloser: b, Size: a.ContentLength}
	if in, ok := a.Body.(*wire.Body); ok {
		opened.Queued = in.Queued
	}
	if !partial {
		return opened, nil
	}
	wrong := func(why string) error {
		return &wire.Failure{Class: oci.ClassLength, Status: a.StatusCode, Text: a.URL.Host + " sent " + why}
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
