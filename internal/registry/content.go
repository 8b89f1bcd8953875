package registry

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"sync"
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
		d, status, err := x.h.mirror.StatManifest(x.context(), x.answer.Request)
		x.cached(status)
		if err != nil {
			return err
		}
		return x.sendHead(d)
	}
	m, cacheStatus, err := x.h.mirror.Manifest(x.context(), x.answer.Request)
	x.cached(cacheStatus)
	if err != nil {
		return err
	}
	part, parts, status, err := x.selectSpan(int64(len(m.Bytes)), x.describe(m.MediaType, m.Digest))
	if err != nil {
		return err
	}
	if parts != nil {
		return x.sendParts(bytes.NewReader(m.Bytes), parts, m.Descriptor(), true)
	}
	x.commit(status)
	return x.write(m.Bytes[part.offset : part.offset+part.length])
}

func (x *exchange) serveBlob() error {
	if x.head() {
		d, status, err := x.h.mirror.StatBlob(x.context(), x.answer.Request)
		x.cached(status)
		if err != nil {
			return err
		}
		// What a layer is, only the manifest knows; and nobody compresses this.
		d.MediaType = oci.MediaTypeOctetStream
		return x.sendHead(d)
	}
	request := x.answer.Request
	switch x.r.Header.Get("Range") {
	case "", "bytes=0-": // so begins who fetches the whole in parts
	default:
		request.Ranged = true
	}
	blob, cacheStatus, err := x.h.mirror.Blob(x.context(), request)
	x.cached(cacheStatus)
	if err != nil {
		return err
	}
	defer func() { _ = blob.Content.Close() }()
	if blob.Size < 0 {
		return errNoSize
	}
	part, parts, status, err := x.selectSpan(blob.Size, x.describe(fileType(blob.File, blob.Size), blob.Digest))
	if err != nil {
		return err
	}
	if parts != nil {
		defer x.lift()()
		return x.sendBlobParts(blob, parts)
	}
	if part.offset > 0 {
		if _, err := blob.Content.Seek(part.offset, io.SeekStart); err != nil {
			return err
		}
	}
	defer x.lift()()
	if blob.File != nil {
		return x.sendFile(blob.File, blob.Size, part, status)
	}
	return x.follow(blob.Content, part.length, status)
}

// sendFile sends a part of a finished blob, from the file's position.
func (x *exchange) sendFile(file *os.File, size int64, part span, status int) error {
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

// follow sends the next length bytes of what may still be under way.
func (x *exchange) follow(content io.Reader, length int64, status int) error {
	if length == 0 {
		x.commit(status)
		return nil
	}
	sent, err := x.followFirst(content, length, status)
	if err != nil || sent == length {
		return err
	}
	x.flush()
	if blob, ok := content.(spooled); ok {
		relayed, err := x.relay(blob, length-sent)
		if sent += relayed; err != nil {
			return err
		}
	}
	return x.copy(content, length-sent, true)
}

// followFirst sends the header, and the first bytes once they are there.
func (x *exchange) followFirst(content io.Reader, length int64, status int) (sent int64, err error) {
	buffer := takeBuffer()
	defer giveBuffer(buffer)
	begun := make(chan struct{})
	var panicked any
	patience := time.AfterFunc(headerPatience, func() {
		defer close(begun)
		defer func() { panicked = recover() }()
		x.commit(status)
		x.flush()
	})
	settle := sync.OnceFunc(func() {
		if !patience.Stop() {
			<-begun
		}
	})
	defer settle()
	n, err := readSome(content, buffer[:min(length, int64(len(buffer)))])
	if settle(); panicked != nil {
		panic(panicked) // where somebody deals with panics
	}
	if err != nil && (err != io.EOF || int64(n) < length) {
		return 0, bodyError(err)
	}
	if !x.committed {
		if status == http.StatusOK {
			x.set("Content-Type", typeOf(buffer[:n], length))
		}
		x.commit(status)
	}
	return int64(n), x.write(buffer[:n])
}

// flush sends what is buffered. Writers that cannot do so have sent it already.
func (x *exchange) flush() {
	x.stall.begin(nil)
	_ = x.stall.end(http.NewResponseController(x.w).Flush())
}
