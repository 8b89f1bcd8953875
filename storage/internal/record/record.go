// Package record encodes what the store writes down in small records: the index, and the
// state of the store.
package record

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// Version is the first byte of each record. One of another version is a
// miss, as is one whose last four bytes are not the CRC32C of the rest. Numbers
// are big-endian, times are unix seconds, 0 = unknown.
const Version = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Begin returns a record of no fields yet, with room for n bytes of them.
func Begin(n int) []byte { return append(make([]byte, 0, 1+n+crc32.Size), Version) }

// Seal ends a record.
func Seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// AppendInt appends a number.
func AppendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

// AppendTime appends a time.
func AppendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return AppendInt(b, 0)
	}
	return AppendInt(b, t.Unix())
}

// AppendText appends a text and its length.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Fields reads a record field by field. Past the end, or if the record is not
// intact, it reads zeros, and End says so.
type Fields struct {
	rest []byte
	bad  bool
}

// Open returns the fields of a record.
func Open(b []byte) *Fields {
	n := len(b) - crc32.Size
	if n < 1 || b[0] != Version || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return &Fields{bad: true}
	}
	return &Fields{rest: b[1:n:n]}
}

// Take returns the next n bytes.
func (f *Fields) Take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

// Int reads a number.
func (f *Fields) Int() int64 {
	if b := f.Take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Time reads a time.
func (f *Fields) Time() time.Time {
	if n := f.Int(); n != 0 {
		return time.Unix(n, 0)
	}
	return time.Time{}
}

// Text reads a text.
func (f *Fields) Text() string {
	length, n := binary.Uvarint(f.rest)
	if n <= 0 || length > uint64(len(f.rest)-n) {
		f.bad, f.rest = true, nil
		return ""
	}
	f.rest = f.rest[n:]
	return string(f.Take(int(length)))
}

// End reports whether the record was intact and all of it was read.
func (f *Fields) End() bool { return !f.bad && len(f.rest) == 0 }

// Left returns how many bytes were not read yet.
func (f *Fields) Left() int { return len(f.rest) }

// Intact reports whether b is a record that was not damaged.
func Intact(b []byte) bool { return !Open(b).bad }
