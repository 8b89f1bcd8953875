package registry

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// heldBack is how much of the end of a range waits for the whole blob to be verified,
// where ranges have to.
const heldBack = 64 << 10

// following is one answer with what may still be under way.
type following struct {
	x      *exchange
	body   io.Reader
	length int64
	status int
	// blob is what the body is of; nil = what it gives is verified.
	blob oci.Filling
	// free is how much of it waits for nothing but its bytes.
	free int64
}

// sendFilling answers with a blob that may still be under way. Where none of its
// ranges can be verified any more, the answer is the whole, unless it has begun.
func (x *exchange) sendFilling(blob oci.Blob, part span, parts []span, status int) error {
	err := x.sendSelected(blob, part, parts, status)
	if !errors.Is(err, oci.ErrPasses) || x.committed {
		return err
	}
	x.answer.Cache.Stored = false
	x.cached(x.answer.Cache)
	delete(x.w.Header(), "Content-Range")
	x.set("Content-Length", strconv.FormatInt(blob.Size, 10))
	return x.sendSelected(blob, span{length: blob.Size}, nil, http.StatusOK)
}

func (x *exchange) sendSelected(blob oci.Blob, part span, parts []span, status int) error {
	f := &following{x: x, body: blob.Content, length: part.length, status: status}
	first, before := part, int64(0)
	if parts != nil {
		body := x.describeParts(blob.Content, parts, partsOf(blob))
		first, before = parts[0], int64(len(body.before(0)))
		f.body, f.length = body, body.length()
	}
	if err := f.begin(blob.Content, first, before); err != nil {
		return err
	}
	return f.send()
}

// begin goes to the first part, before bytes into the body.
func (f *following) begin(content io.ReadSeeker, first span, before int64) (err error) {
	f.free = f.length
	if f.blob, _ = content.(oci.Filling); f.blob == nil {
		if first.offset > 0 {
			_, err = content.Seek(first.offset, io.SeekStart)
		}
		return err
	}
	if err := f.blob.Select(first.offset, first.offset+first.length); err != nil || f.blob.Trust() != oci.TrustHeld {
		return err
	}
	if f.free = 0; first.length > heldBack {
		f.free = before + first.length - heldBack
	}
	return nil
}

func (f *following) send() error {
	x := f.x
	if f.length == 0 {
		x.commit(f.status)
		return nil
	}
	sent, err := f.sendFirst()
	if err != nil || sent == f.length {
		return err
	}
	x.flush()
	if sent < f.free {
		if err := f.sendOn(f.free - sent); err != nil || f.free == f.length {
			return err
		}
		x.flush()
		sent = f.free
	}
	if f.free < f.length {
		began := time.Now()
		err := f.blob.AwaitVerified()
		if x.waited(began); err != nil {
			return bodyError(err)
		}
	}
	return f.sendOn(f.length - sent)
}

// sendOn sends the next length bytes.
func (f *following) sendOn(length int64) error {
	if blob, ok := f.body.(spooled); ok {
		relayed, err := f.x.relay(blob, length)
		if length -= relayed; err != nil {
			return err
		}
	}
	return f.x.copy(f.body, length, true)
}

// sendFirst sends the header, and the first bytes once they are there.
func (f *following) sendFirst() (sent int64, err error) {
	buffer := takeBuffer()
	defer giveBuffer(buffer)
	begun := make(chan struct{})
	var panicked any
	patience := time.AfterFunc(headerPatience, func() {
		defer close(begun)
		defer func() { panicked = recover() }()
		if f.commit() == nil { // else the reader says so
			f.x.flush()
		}
	})
	settle := sync.OnceFunc(func() {
		if !patience.Stop() {
			<-begun
		}
	})
	defer settle()
	began := time.Now()
	n, err := f.readFirst(buffer)
	settle()
	if f.x.waited(began); panicked != nil {
		panic(panicked) // where somebody deals with panics
	}
	if err != nil && (err != io.EOF || int64(n) < f.length) {
		return 0, bodyError(err)
	}
	if !f.x.committed {
		if f.status == http.StatusOK {
			f.x.set("Content-Type", typeOf(buffer[:n], f.length))
		}
		if err := f.commit(); err != nil {
			return 0, err
		}
	}
	return int64(n), f.x.write(buffer[:n])
}

func (f *following) readFirst(buffer []byte) (int, error) {
	limit := f.free
	if limit == 0 {
		if err := f.blob.AwaitVerified(); err != nil {
			return 0, err
		}
		limit = f.length
	}
	return readSome(f.body, buffer[:min(limit, int64(len(buffer)))])
}

// commit writes the header, and says there if nothing is known of the bytes. It does
// not where they can never be verified.
func (f *following) commit() error {
	if f.blob != nil {
		switch f.blob.Trust() {
		case oci.TrustWhole:
			return oci.ErrPasses
		case oci.TrustNone:
			f.x.answer.Cache.Detail = oci.DetailUnverified
			f.x.cached(f.x.answer.Cache)
		}
	}
	f.x.commit(f.status)
	return nil
}
