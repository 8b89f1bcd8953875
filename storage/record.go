package storage

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
)

// blobRecord is what the index knows of a blob's file.
type blobRecord struct {
	size    int64
	created time.Time
	// origin is the upstream that brought the blob in first, as in
	// oci.Scope.Upstream. It is empty where that is not known: of a blob that was
	// adopted, or recorded before there were origins, when records ended here.
	origin string
}

func (r blobRecord) encode() []byte {
	return record.Seal(append(record.AppendTime(record.AppendInt(record.Begin(16+len(r.origin)), r.size), r.created), r.origin...))
}

func decodeBlob(b []byte) (r blobRecord, ok bool) {
	f := record.Open(b)
	r.size, r.created = f.Int(), f.Time()
	r.origin = string(f.Take(f.Left()))
	return r, f.End() && r.size >= 0
}

// useRecord is the hour of the last use, counted from 2020-01-01.
type useRecord uint32

func (r useRecord) encode() []byte {
	return record.Seal(binary.BigEndian.AppendUint32(record.Begin(4), uint32(r)))
}

func decodeUse(b []byte) (useRecord, bool) {
	f := record.Open(b)
	raw := f.Take(4)
	if !f.End() {
		return 0, false
	}
	return useRecord(binary.BigEndian.Uint32(raw)), true
}

// linkRecord is a link and the hour in which it was last made; 0 = unknown, as of
// links from before that was recorded, which end before it.
type linkRecord struct {
	Link

	made useRecord
	// proved is when it was last proven; zero = unknown, as of links from before that was
	// recorded, and of those that are not proven, which end before it.
	proved time.Time
}

func (r linkRecord) encode() []byte {
	proven := byte(0)
	if r.Proven {
		proven = 1
	}
	b := append(record.AppendInt(record.Begin(21), max(r.Size, -1)), proven)
	if r.made != 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(r.made))
	}
	if r.made != 0 && !r.proved.IsZero() {
		b = record.AppendTime(b, r.proved)
	}
	return record.Seal(b)
}

func decodeLink(b []byte) (r linkRecord, ok bool) {
	f := record.Open(b)
	r.Size = f.Int()
	if raw := f.Take(1); len(raw) == 1 {
		r.Proven = raw[0] == 1
		ok = raw[0] <= 1
	}
	if f.Left() > 0 {
		if raw := f.Take(4); len(raw) == 4 {
			r.made = useRecord(binary.BigEndian.Uint32(raw))
		}
		ok = ok && r.made != 0
	}
	if f.Left() > 0 {
		r.proved = f.Time()
		ok = ok && !r.proved.IsZero()
	}
	return r, f.End() && ok && r.Size >= -1
}

func encodeTag(t Tag) []byte {
	b := record.Begin(24 + len(t.Digest) + len(t.MediaType) + 2*binary.MaxVarintLen16)
	b = record.AppendTime(record.AppendTime(record.AppendInt(b, t.Size), t.Checked), t.Changed)
	return record.Seal(record.AppendText(record.AppendText(b, t.Digest.String()), t.MediaType))
}

func decodeTag(b []byte) (t Tag, ok bool) {
	f := record.Open(b)
	t.Size, t.Checked, t.Changed = f.Int(), f.Time(), f.Time()
	t.Digest, t.MediaType = digest.Digest(f.Text()), f.Text()
	_, err := oci.ParseDigest(t.Digest.String())
	return t, f.End() && err == nil
}

// manifestRecord holds a manifest, or says that its bytes lie among the blobs.
type manifestRecord struct {
	external  bool
	mediaType string
	bytes     []byte
}

func (r manifestRecord) encode() []byte {
	b := record.Begin(1 + binary.MaxVarintLen16 + len(r.mediaType) + len(r.bytes))
	var flags byte
	if r.external {
		flags = 1
	}
	return record.Seal(append(record.AppendText(append(b, flags), r.mediaType), r.bytes...))
}

// decodeManifest returns a record whose bytes are part of b.
func decodeManifest(b []byte) (r manifestRecord, ok bool) {
	f := record.Open(b)
	flags := f.Take(1)
	r.mediaType, r.bytes = f.Text(), f.Take(f.Left())
	if !f.End() {
		return r, false
	}
	r.external = flags[0]&1 != 0
	return r, true
}

// encodePin returns the record of a pin: when it was made.
func encodePin(made time.Time) []byte { return record.Seal(record.AppendTime(record.Begin(8), made)) }

func decodePin(b []byte) (made time.Time, ok bool) {
	f := record.Open(b)
	made = f.Time()
	return made, f.End()
}

func encodeReferrers(r Referrers) ([]byte, error) {
	list, err := json.Marshal(r.Descriptors)
	if err != nil {
		return nil, err
	}
	return record.Seal(append(record.AppendTime(record.Begin(8+len(list)), r.Checked), list...)), nil
}

func decodeReferrers(b []byte) (r Referrers, ok bool) {
	f := record.Open(b)
	r.Checked = f.Time()
	list := f.Take(f.Left())
	return r, f.End() && json.Unmarshal(list, &r.Descriptors) == nil
}
