package registry

import (
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// piece is the bytes of a file from its position to end. Whoever hands it on in an
// io.LimitedReader gets the kernel's copy for it, as for the file: net's asks a
// reader in one of those for the file below it. That copy does not know of end, so
// the limit must be right.
type piece struct {
	file *os.File
	end  int64
}

func (p *piece) left() int64 {
	at, err := p.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return p.end - at
}

// Read implements io.Reader, for writers without such a copy.
func (p *piece) Read(b []byte) (int, error) {
	left := p.left()
	if left <= 0 {
		return 0, io.EOF
	}
	return p.file.Read(b[:min(int64(len(b)), left)])
}

// SyscallConn implements syscall.Conn.
func (p *piece) SyscallConn() (syscall.RawConn, error) {
	if p.left() <= 0 {
		return nil, io.EOF
	}
	file, err := p.file.SyscallConn()
	return pieceConn{file, p}, err
}

type pieceConn struct {
	syscall.RawConn
	piece *piece
}

// Read lets the kernel copy, and says by io.EOF that there is no more to come, so
// that none looks for it.
func (c pieceConn) Read(send func(fd uintptr) bool) error {
	err := c.RawConn.Read(send)
	if err == nil && c.piece.left() <= 0 {
		err = io.EOF
	}
	return err
}

// kernel returns what lets the kernel copy from a file to the socket; nil where it
// cannot.
func (x *response) kernel() io.ReaderFrom {
	to, ok := x.w.(io.ReaderFrom)
	if !ok || x.r.TLS != nil || x.r.ProtoMajor != 1 {
		return nil
	}
	return to
}

// sendPiece has the kernel send the next n bytes of a file. It reports false, and
// has sent nothing, if the writers between here and the socket would not keep to
// that, or a guard wants to see each byte.
func (x *response) sendPiece(to io.ReaderFrom, file *os.File, n int64) (bool, error) {
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false, bodyError(err)
	}
	var content io.Reader = &piece{file, at + n}
	switch {
	case x.stall == nil:
		return false, nil
	case x.guard == nil:
		content = &io.LimitedReader{R: content, N: n}
	case x.guard.Limit(x.w, n):
		defer x.guard.Limit(x.w, math.MaxInt64)
	default:
		return false, nil
	}
	return true, x.splice(to, file, content, n)
}

// spooled is a blob that is under way and lets the kernel send it.
type spooled interface {
	oci.Spool
	io.Seeker
}

// relay has the kernel send the next length bytes of such a blob, as far as it can,
// and returns how many that were.
func (x *response) relay(blob spooled, length int64) (sent int64, err error) {
	to := x.kernel()
	for to != nil && sent < length {
		began := time.Now()
		file, n, err := blob.Next()
		if x.waited(began); err != nil {
			return sent, bodyError(err)
		}
		if file == nil {
			break
		}
		n = min(n, length-sent)
		ok, err := x.sendPiece(to, file, n)
		if !ok || err != nil {
			return sent, err
		}
		if _, err := blob.Seek(n, io.SeekCurrent); err != nil {
			return sent, bodyError(err)
		}
		sent += n
	}
	return sent, nil
}
