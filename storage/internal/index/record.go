package index

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
)

// Blob is what the index knows of a blob's file.
type Blob struct {
	Size    int64
	Created time.Time
	// Origin is the upstream that brought the blob in first, as in
	// oci.Scope.Upstream. It is empty where that is not known: of a blob that was
	// adopted, or recorded before there were origins, when records ended here.
	Origin string
}

// Encode returns the record.
func (r Blob) Encode() []byte {
	return record.Seal(append(record.AppendTime(record.AppendInt(record.Begin(16+len(r.Origin)), r.Size), r.Created), r.Origin...))
}

// DecodeBlob returns what a record says, if it is intact.
func DecodeBlob(b []byte) (r Blob, ok bool) {
	f := record.Open(b)
	r.Size, r.Created = f.Int(), f.Time()
	r.Origin = string(f.Take(f.Left()))
	return r, f.End() && r.Size >= 0
}

// Use is the hour of the last use, counted from 2020-01-01.
type Use uint32

// Encode returns the record.
func (r Use) Encode() []byte {
	return record.Seal(binary.BigEndian.AppendUint32(record.Begin(4), uint32(r)))
}

// DecodeUse returns what a record says, if it is intact.
func DecodeUse(b []byte) (Use, bool) {
	f := record.Open(b)
	raw := f.Take(4)
	if !f.End() {
		return 0, false
	}
	return Use(binary.BigEndian.Uint32(raw)), true
}

// LinkRecord is a link and the hour in which it was last made; 0 = unknown, as of
// links from before that was recorded, which end before it. So do those without a time of
// their proof.
type LinkRecord struct {
	Link

	Made Use
}

// Encode returns the record.
func (r LinkRecord) Encode() []byte {
	proven := byte(0)
	if r.Proven {
		proven = 1
	}
	b := append(record.AppendInt(record.Begin(21), max(r.Size, -1)), proven)
	if r.Made != 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(r.Made))
	}
	if r.Made != 0 && !r.Proved.IsZero() {
		b = record.AppendTime(b, r.Proved)
	}
	return record.Seal(b)
}

// DecodeLink returns what a record says, if it is intact.
func DecodeLink(b []byte) (r LinkRecord, ok bool) {
	f := record.Open(b)
	r.Size = f.Int()
	if raw := f.Take(1); len(raw) == 1 {
		r.Proven = raw[0] == 1
		ok = raw[0] <= 1
	}
	if f.Left() > 0 {
		if raw := f.Take(4); len(raw) == 4 {
			r.Made = Use(binary.BigEndian.Uint32(raw))
		}
		ok = ok && r.Made != 0
	}
	if f.Left() > 0 {
		r.Proved = f.Time()
		ok = ok && !r.Proved.IsZero()
	}
	return r, f.End() && ok && r.Size >= -1
}

// EncodeTag returns the record.
func EncodeTag(t Tag) []byte {
	b := record.Begin(24 + len(t.Digest) + len(t.MediaType) + 2*binary.MaxVarintLen16)
	b = record.AppendTime(record.AppendTime(record.AppendInt(b, t.Size), t.Checked), t.Changed)
	return record.Seal(record.AppendText(record.AppendText(b, t.Digest.String()), t.MediaType))
}

// DecodeTag returns what a record says, if it is intact.
func DecodeTag(b []byte) (t Tag, ok bool) {
	f := record.Open(b)
	t.Size, t.Checked, t.Changed = f.Int(), f.Time(), f.Time()
	t.Digest, t.MediaType = digest.Digest(f.Text()), f.Text()
	_, err := oci.ParseDigest(t.Digest.String())
	return t, f.End() && err == nil
}

// Manifest holds a manifest, or says that its bytes lie among the blobs.
type Manifest struct {
	External  bool
	MediaType string
	Bytes     []byte
}

// Encode returns the record.
func (r Manifest) Encode() []byte {
	b := record.Begin(1 + binary.MaxVarintLen16 + len(r.MediaType) + len(r.Bytes))
	var flags byte
	if r.External {
		flags = 1
	}
	return record.Seal(append(record.AppendText(append(b, flags), r.MediaType), r.Bytes...))
}

// DecodeManifest returns a record whose bytes are part of b.
func DecodeManifest(b []byte) (r Manifest, ok bool) {
	f := record.Open(b)
	flags := f.Take(1)
	r.MediaType, r.Bytes = f.Text(), f.Take(f.Left())
	if !f.End() {
		return r, false
	}
	r.External = flags[0]&1 != 0
	return r, true
}

// EncodePin returns the record of a pin: when it was made.
func EncodePin(made time.Time) []byte { return record.Seal(record.AppendTime(record.Begin(8), made)) }

// DecodePin returns what a record says, if it is intact.
func DecodePin(b []byte) (made time.Time, ok bool) {
	f := record.Open(b)
	made = f.Time()
	return made, f.End()
}

// EncodeReferrers returns the record.
func EncodeReferrers(r Referrers) ([]byte, error) {
	list, err := json.Marshal(r.Descriptors)
	if err != nil {
		return nil, err
	}
	return record.Seal(append(record.AppendTime(record.Begin(8+len(list)), r.Checked), list...)), nil
}

// DecodeReferrers returns what a record says, if it is intact.
func DecodeReferrers(b []byte) (r Referrers, ok bool) {
	f := record.Open(b)
	r.Checked = f.Time()
	list := f.Take(f.Left())
	return r, f.End() && json.Unmarshal(list, &r.Descriptors) == nil
}

// Tag is what a tag pointed to when the upstream was last asked. Times are kept
// to the second.
type Tag struct {
	Digest    digest.Digest
	MediaType string
	// Size is that of the manifest; -1 = unknown.
	Size int64
	// Checked is when the upstream last confirmed it, Changed when it first
	// pointed to this digest.
	Checked, Changed time.Time
}

// Referrers is the list of what refers to a digest within a scope, as the
// upstream gave it when it was last asked.
type Referrers struct {
	Descriptors []oci.Descriptor
	// Checked is when that was, to the second.
	Checked time.Time
}

// Link is the record that a digest belongs to a scope.
type Link struct {
	// Size is what the content is said to have; -1 = unknown. Only bytes that
	// match the digest prove it.
	Size int64
	// Proven says that the scope's upstream itself has shown to have the content: it has
	// delivered it, or has proven it. Otherwise it merely speaks of the digest, which
	// costs nothing.
	Proven bool
	// Proved is when it was last proven; zero = never.
	Proved time.Time
}

// OriginRecord is that an upstream has shown that it has some content.
type OriginRecord struct {
	Made Use // when it was first recorded
	Open bool
}

// Encode returns the record.
func (r OriginRecord) Encode() []byte {
	var flags byte
	if r.Open {
		flags = 1
	}
	return record.Seal(append(binary.BigEndian.AppendUint32(record.Begin(5), uint32(r.Made)), flags))
}

// DecodeOrigin returns what a record says, if it is intact.
func DecodeOrigin(b []byte) (r OriginRecord, ok bool) {
	f := record.Open(b)
	raw, flags := f.Take(4), f.Take(1)
	if !f.End() || flags[0] > 1 {
		return OriginRecord{}, false
	}
	return OriginRecord{Use(binary.BigEndian.Uint32(raw)), flags[0] == 1}, true
}
