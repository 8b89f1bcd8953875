package integrity

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ErrDigest means that a file does not have the digest that is its name.
var ErrDigest = errors.New("bytes do not match the digest")

// hashStep is how much is read at once.
const hashStep = 256 << 10

// match returns ErrDigest if a file does not have the digest of the id, or why it
// cannot be read. read, if not nil, hears of each piece.
func match(ctx context.Context, f io.ReaderAt, i volume.ID, p *Pace, read func(bytes int64)) error {
	hash := i.Algorithm().Hash()
	buffer := make([]byte, hashStep)
	for off := int64(0); ; {
		if err := p.wait(ctx, hashStep); err != nil {
			return err
		}
		n, err := f.ReadAt(buffer, off)
		hash.Write(buffer[:n])
		off += int64(n)
		if read != nil {
			read(int64(n))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if string(hash.Sum(nil)) != string(i[1:]) {
		return ErrDigest
	}
	return nil
}

// Exhausted reports whether err says nothing about the file.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
