package storage

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// recordVersion is the first byte of each record. One of another version is a
// miss, as is one whose last four bytes are not the CRC32C of the rest. Numbers
// are big-endian, times are unix seconds, 0 = unknown.
const recordVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// begin returns a record of no fields yet, with room for n bytes of them.
func begin(n int) []byte { return append(make([]byte, 0, 1+n+crc32.Size), recordVersion) }

// seal ends a record.
func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return appendInt(b, 0)
	}
	return appendInt(b, t.Unix())
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// fields reads a record field by field. Past the end, or if the record is not
// intact, it reads zeros, and end says so.
type fields struct {
	rest []byte
	bad  bool
}

// open returns the fields of a record.
func open(b []byte) *fields {
	n := len(b) - crc32.Size
	if n < 1 || b[0] != recordVersion || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return &fields{bad: true}
	}
	return &fields{rest: b[1:n:n]}
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.bad, f.rest = true, nil
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) int() int64 {
	if b := f.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (f *fields) time() time.Time {
	if n := f.int(); n != 0 {
		return time.Unix(n, 0)
	}
	return time.Time{}
}

func (f *fields) text() string {
	length, n := binary.Uvarint(f.rest)
	if n <= 0 || length > uint64(len(f.rest)-n) {
		f.bad, f.rest = true, nil
		return ""
	}
	f.rest = f.rest[n:]
	return string(f.take(int(length)))
}

// end reports whether the record was intact and all of it was read.
func (f *fields) end() bool { return !f.bad && len(f.rest) == 0 }
