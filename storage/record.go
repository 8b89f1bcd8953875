package storage

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
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
	return seal(append(appendTime(appendInt(begin(16+len(r.origin)), r.size), r.created), r.origin...))
}

func decodeBlob(b []byte) (r blobRecord, ok bool) {
	f := open(b)
	r.size, r.created = f.int(), f.time()
	r.origin = string(f.take(len(f.rest)))
	return r, f.end() && r.size >= 0
}

// useRecord is the hour of the last use, counted from 2020-01-01.
type useRecord uint32

func (r useRecord) encode() []byte { return seal(binary.BigEndian.AppendUint32(begin(4), uint32(r))) }

func decodeUse(b []byte) (useRecord, bool) {
	f := open(b)
	raw := f.take(4)
	if !f.end() {
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
	b := append(appendInt(begin(21), max(r.Size, -1)), proven)
	if r.made != 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(r.made))
	}
	if r.made != 0 && !r.proved.IsZero() {
		b = appendTime(b, r.proved)
	}
	return seal(b)
}

func decodeLink(b []byte) (r linkRecord, ok bool) {
	f := open(b)
	r.Size = f.int()
	if raw := f.take(1); len(raw) == 1 {
		r.Proven = raw[0] == 1
		ok = raw[0] <= 1
	}
	if len(f.rest) > 0 {
		if raw := f.take(4); len(raw) == 4 {
			r.made = useRecord(binary.BigEndian.Uint32(raw))
		}
		ok = ok && r.made != 0
	}
	if len(f.rest) > 0 {
		r.proved = f.time()
		ok = ok && !r.proved.IsZero()
	}
	return r, f.end() && ok && r.Size >= -1
}

func encodeTag(t Tag) []byte {
	b := begin(24 + len(t.Digest) + len(t.MediaType) + 2*binary.MaxVarintLen16)
	b = appendTime(appendTime(appendInt(b, t.Size), t.Checked), t.Changed)
	return seal(appendText(appendText(b, t.Digest.String()), t.MediaType))
}

func decodeTag(b []byte) (t Tag, ok bool) {
	f := open(b)
	t.Size, t.Checked, t.Changed = f.int(), f.time(), f.time()
	t.Digest, t.MediaType = digest.Digest(f.text()), f.text()
	_, err := oci.ParseDigest(t.Digest.String())
	return t, f.end() && err == nil
}

// manifestRecord holds a manifest, or says that its bytes lie among the blobs.
type manifestRecord struct {
	external  bool
	mediaType string
	bytes     []byte
}

func (r manifestRecord) encode() []byte {
	b := begin(1 + binary.MaxVarintLen16 + len(r.mediaType) + len(r.bytes))
	var flags byte
	if r.external {
		flags = 1
	}
	return seal(append(appendText(append(b, flags), r.mediaType), r.bytes...))
}

// decodeManifest returns a record whose bytes are part of b.
func decodeManifest(b []byte) (r manifestRecord, ok bool) {
	f := open(b)
	flags := f.take(1)
	r.mediaType, r.bytes = f.text(), f.take(len(f.rest))
	if !f.end() {
		return r, false
	}
	r.external = flags[0]&1 != 0
	return r, true
}

// encodePin returns the record of a pin: when it was made.
func encodePin(made time.Time) []byte { return seal(appendTime(begin(8), made)) }

func decodePin(b []byte) (made time.Time, ok bool) {
	f := open(b)
	made = f.time()
	return made, f.end()
}

func encodeReferrers(r Referrers) ([]byte, error) {
	list, err := json.Marshal(r.Descriptors)
	if err != nil {
		return nil, err
	}
	return seal(append(appendTime(begin(8+len(list)), r.Checked), list...)), nil
}

func decodeReferrers(b []byte) (r Referrers, ok bool) {
	f := open(b)
	r.Checked = f.time()
	list := f.take(len(f.rest))
	return r, f.end() && json.Unmarshal(list, &r.Descriptors) == nil
}
