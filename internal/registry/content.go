package registry

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// headerPatience is how long the header of an answer is held back for the first
// bytes of content that is under way. Within it a failure is still a proper
// answer with its reason; after it a client sees that the answer has begun,
// well before the 30 s that containerd waits for a header.
const headerPatience = 5 * time.Second

func (x *exchange) serveManifest() error {
	if x.head() {
		d, status, err := x.h.o.Mirror.StatManifest(x.ctx, x.answer.Request)
		x.cached(status)
		if err != nil {
			return err
		}
		return x.sendHead(d)
	}
	m, cacheStatus, err := x.h.o.Mirror.Manifest(x.ctx, x.answer.Request)
	x.cached(cacheStatus)
	if err != nil {
		return err
	}
	x.answer.Manifest = m
	part, parts, status, err := x.selectSpan(int64(len(m.Bytes)), x.describe(m.MediaType, m.Digest))
	if err != nil {
		return err
	}
	if parts != nil {
		body := x.describeParts(bytes.NewReader(m.Bytes), parts, m.Descriptor())
		x.commit(status)
		return x.copy(body, body.length(), false)
	}
	x.commit(status)
	return x.write(m.Bytes[part.offset : part.offset+part.length])
}

func (x *exchange) serveBlob() error {
	if x.head() {
		d, status, err := x.h.o.Mirror.StatBlob(x.ctx, x.answer.Request)
		x.cached(status)
		if err != nil {
			return err
		}
		if d.MediaType == "" || d.Size > maxTyped {
			// What a layer is, only the manifest knows; and nobody compresses this.
			d.MediaType = oci.MediaTypeOctetStream
		}
		return x.sendHead(d)
	}
	request := x.answer.Request
	switch x.r.Header.Get("Range") {
	case "", "bytes=0-": // clients that fetch the whole in parts begin so
	default:
		request.Ranged = true
	}
	blob, cacheStatus, err := x.h.o.Mirror.Blob(x.ctx, request)
	x.cached(cacheStatus)
	if err != nil {
		return err
	}
	if blob.Location != "" {
		return x.redirect(blob)
	}
	defer func() { _ = blob.Content.Close() }()
	if blob.Size < 0 {
		return errNoSize
	}
	part, parts, status, err := x.selectSpan(blob.Size, x.describe(fileType(blob.File, blob.Size), blob.Digest))
	if err != nil {
		return err
	}
	defer x.lift()()
	switch {
	case blob.File == nil:
		return x.sendFilling(blob, part, parts, status)
	case parts != nil:
		return x.sendFileParts(blob, parts)
	}
	return x.sendFile(blob.File, blob.Size, part, status)
}

// redirect sends the client to where it gets a blob, for this time.
func (x *exchange) redirect(blob oci.Blob) error {
	x.answer.Digest, x.answer.Redirected = blob.Digest, blob.Size
	x.set("Docker-Content-Digest", blob.Digest.String())
	x.set("Location", blob.Location)
	x.set("Cache-Control", cacheNothing)
	x.set("Content-Length", "0")
	x.commit(http.StatusTemporaryRedirect)
	return nil
}

// sendFile sends a part of a finished blob.
func (x *response) sendFile(file *os.File, size int64, part span, status int) error {
	if part.offset > 0 {
		if _, err := file.Seek(part.offset, io.SeekStart); err != nil {
			return err
		}
	}
	// The kernel sends what the file has, whatever Content-Length says.
	if err := checkSize(file, size); err != nil {
		return err
	}
	x.commit(status)
	to := x.kernel()
	switch {
	case to == nil:
	case part.offset+part.length == size:
		return x.splice(to, file, file, part.length)
	default:
		if sent, err := x.sendPiece(to, file, part.length); sent || err != nil {
			return err
		}
	}
	return x.copy(file, part.length, false)
}
