package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// bufferSize is large enough that system calls cost little, and small enough that what
// is read is still in the processor's cache when it is encrypted and sent.
const bufferSize = 64 << 10

// Of a crowd, those beyond the first few get small buffers: all of them wait for
// the same bytes, and it is the machine that is busy.
const (
	largeBuffers    = 64
	smallBufferSize = 16 << 10
)

var (
	buffers      = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBufferSize]byte) }}
	taken        atomic.Int64
)

func takeBuffer() []byte {
	if taken.Add(1) > largeBuffers {
		return smallBuffers.Get().(*[smallBufferSize]byte)[:]
	}
	return buffers.Get().(*[bufferSize]byte)[:]
}

func giveBuffer(b []byte) {
	taken.Add(-1)
	if len(b) == bufferSize {
		buffers.Put((*[bufferSize]byte)(b))
		return
	}
	smallBuffers.Put((*[smallBufferSize]byte)(b))
}

// errClientGone marks an error as the client's doing: it left, or takes no
// bytes. Clients do so by design; it is nobody's fault and not logged as one.
var errClientGone = errors.New("the client has left")

// errExiting is an answer that had to end for the handler's sake.
var errExiting = fmt.Errorf("%w: it was sent away", errClientGone)

// sizeError is content that is not as long as it should be.
type sizeError struct{ got, want int64 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("content has %d bytes, not %d", e.got, e.want)
}

func checkSize(file *os.File, size int64) error {
	info, err := file.Stat()
	if err == nil && info.Size() != size {
		err = &sizeError{got: info.Size(), want: size}
	}
	return err
}

// errNoSize keeps a length from being invented.
var errNoSize = errors.New("content of unknown size")

// readSome reads at least one byte, or returns an error.
func readSome(r io.Reader, p []byte) (n int, err error) {
	for range 100 {
		if n, err = r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// bodyError is a failure to read content. An end that comes too early is not an
// end.
func bodyError(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read content: %w", err)
}

// gone reports whether an error is due to the client.
func (x *exchange) gone(err error) bool {
	return errors.Is(err, errClientGone) || errors.Is(x.ctx.Err(), context.Canceled)
}
