package fill

import (
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/pullgate/pullgate/internal/oci"
)

// Part is where a fill puts its bytes: a file of the store, or memory where the store
// has none for a small blob. Publish makes a verified one outlive the process. One of
// Commit, Suspend and Remove ends it; it can be read until Close.
type Part interface {
	io.ReaderAt
	io.WriterAt
	Covered() oci.Extents
	Reopen() (*os.File, error)
	Publish(size int64)
	Commit(size int64) error
	Suspend(covered oci.Extents) error
	Remove() error
	Close() error
}

// memory holds a blob of up to WholeSize bytes that is not stored.
type memory struct {
	mu sync.RWMutex
	b  []byte
}

func newMemory(size int64) *memory { return &memory{b: make([]byte, size)} }

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+int64(len(b)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	return copy(m.b[off:], b), nil
}

func (m *memory) ReadAt(b []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(b, m.b[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) Reopen() (*os.File, error) { return nil, fs.ErrInvalid }
func (m *memory) Covered() oci.Extents      { return nil }
func (m *memory) Publish(int64)             {}
func (m *memory) Commit(int64) error        { return fs.ErrInvalid }
func (m *memory) Suspend(oci.Extents) error { return nil }
func (m *memory) Remove() error             { return nil }
func (m *memory) Close() error              { return nil }
