package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrPasses means that a blob is stored nowhere: only a reader of all of
// it, from the start, can verify it.
var ErrPasses = errors.New("nothing is stored of the blob, so only the whole can be verified")

// Trust says what the clean end of a range of a blob means.
type Trust int

const (
	// TrustVerified means that the bytes are right.
	TrustVerified Trust = iota
	// TrustHeld means the same, if the end of the range is sent only after AwaitVerified.
	TrustHeld
	// TrustNone means nothing, for the blob may turn out to be another one. The answer has
	// to say so.
	TrustNone
	// TrustWhole means that there is no range. What is read fails with ErrPasses, or soon will.
	TrustWhole
)

// Filling is the content of a blob that is still under way. Trust and AwaitVerified
// may be called beside a Read.
type Filling interface {
	// Select seeks to offset and says that the answer ends at end. Until it is
	// called, it is the whole. Of an answer of several ranges it gets the first.
	Select(offset, end int64) error
	// Trust says what the answer means that is selected, if it begins now.
	Trust() Trust
	// AwaitVerified waits until the whole blob was verified. It returns why that will
	// not happen.
	AwaitVerified() error
}

// SeekTo returns where an io.Seeker of size bytes that is at an offset gets to.
func SeekTo(at, size, offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += at
	case io.SeekEnd:
		offset += size
	default:
		return at, fmt.Errorf("whence %d: %w", whence, fs.ErrInvalid)
	}
	if offset < 0 {
		return at, fmt.Errorf("offset %d: %w", offset, fs.ErrInvalid)
	}
	return offset, nil
}
