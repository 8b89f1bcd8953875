package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// response writes one answer, and keeps count of it.
type response struct {
	w        http.ResponseWriter
	r        *http.Request
	answer   Answer
	onHeader func(*http.Request, *Answer)
	until    context.Context // ends it; nil = never
	// stall watches over writes; nil = the server's writer does.
	stall *stall
	guard Guard
	// values are those of the headers.
	values []string
	space  [10]string
	// committed says that the header was written: an error can only cut.
	committed bool
}

func (x *response) head() bool { return x.r.Method == http.MethodHead }

// waited says that since then, what the cache does not have was waited for.
func (x *response) waited(since time.Time) { x.answer.Waited += time.Since(since) }

// set sets a header. Its name is canonical, which Header.Set would see to anew for
// each request, and the value lies beside the others.
func (x *response) set(name, value string) {
	if x.values == nil {
		x.values = x.space[:0]
	}
	x.values = append(x.values, value)
	n := len(x.values)
	x.w.Header()[name] = x.values[n-1 : n : n]
}

// commit writes the header. From here on an error can only cut the connection.
func (x *response) commit(status int) {
	x.committed = true
	x.begin(status)
	x.w.WriteHeader(status)
}

// begin tells of an answer that begins, or that ends without a header.
func (x *response) begin(status int) {
	x.answer.Status, x.answer.FirstByte = status, time.Since(x.answer.Began)
	x.onHeader(x.r, &x.answer)
}

// sendBytes answers with a whole document. What the API is, clients ask with the
// ping, and no content tells it.
func (x *response) sendBytes(status int, body []byte) error {
	x.set("Docker-Distribution-Api-Version", "registry/2.0")
	x.set(noSniffing, "nosniff")
	x.set("Content-Length", strconv.Itoa(len(body)))
	x.commit(status)
	if x.head() {
		return nil
	}
	return x.write(body)
}

// write sends a part of the body.
func (x *response) write(p []byte) error {
	for len(p) > 0 {
		if x.until != nil && x.until.Err() != nil {
			return errExiting
		}
		piece := p
		if x.stall != nil {
			piece = p[:min(len(p), pieceSize)]
		}
		x.stall.begin(nil)
		n, err := x.w.Write(piece)
		x.answer.Bytes += int64(n)
		if err = x.stall.end(err); err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		p = p[len(piece):]
	}
	return nil
}

// copy sends the next length bytes of the content, each piece at once, with flush, if
// they are under way.
func (x *response) copy(content io.Reader, length int64, flush bool) error {
	buffer := takeBuffer()
	defer giveBuffer(buffer)
	for length > 0 {
		began := time.Now()
		n, err := readSome(content, buffer[:min(length, int64(len(buffer)))])
		if length -= int64(n); flush {
			x.waited(began)
		}
		// The last bytes stay back if the reader complains beside them.
		if err != nil && (err != io.EOF || length > 0) {
			return bodyError(err)
		}
		if err := x.write(buffer[:n]); err != nil {
			return err
		}
		if flush && length > 0 {
			x.flush()
		}
	}
	return nil
}

// splice hands the file to the kernel, where the writers between here and the
// socket let it through. They cut it into chunks by wrapping it in an
// io.LimitedReader, and the kernel's copy takes no more than one of those: so
// what they get is the bare file, or a piece of it.
func (x *response) splice(to io.ReaderFrom, file *os.File, content io.Reader, length int64) error {
	x.stall.begin(func() int64 {
		at, _ := file.Seek(0, io.SeekCurrent)
		return at
	})
	n, err := to.ReadFrom(content)
	x.answer.Bytes += n
	if n == length && errors.Is(err, io.EOF) {
		err = nil // which is how a piece ends
	}
	err = x.stall.end(err)
	var pathError *fs.PathError
	switch {
	case errors.Is(err, errStalled):
		return err
	case err == nil && n == length:
		return nil
	case err == nil:
		return &sizeError{got: n, want: length}
	case errors.As(err, &pathError), errors.Is(err, syscall.EIO):
		return bodyError(err)
	}
	return fmt.Errorf("%w: %w", errClientGone, err)
}

// flush sends what is buffered. Writers that cannot do so have sent it already.
func (x *response) flush() {
	x.stall.begin(nil)
	_ = x.stall.end(http.NewResponseController(x.w).Flush())
}
