package storage

import (
	"bytes"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
)

var badgerAll = badger.IteratorOptions{}

// Decoders take whatever a broken disk may give them. What they accept is what
// encoders make, up to the length of a number.
func FuzzDecode(f *testing.F) {
	d := oci.Sum(nil)
	f.Add(index.Blob{size: 5, created: time.Unix(7, 0)}.encode())
	f.Add(index.Blob{size: 5, created: time.Unix(7, 0), origin: "docker.io#0123"}.encode())
	f.Add(index.Use(5).encode())
	f.Add(index.LinkRecord{Link: Link{Size: -1}}.encode())
	f.Add(index.LinkRecord{Link: Link{Size: 5, Proven: true}, made: 7}.encode())
	f.Add(index.LinkRecord{Link: Link{Size: 5, Proven: true}, made: 7, proved: time.Unix(7, 0)}.encode())
	f.Add(index.OriginRecord{made: 7, open: true}.encode())
	f.Add(index.EncodeTag(Tag{Digest: d, MediaType: "a/b", Size: 5, Checked: time.Unix(7, 0)}))
	f.Add(index.Manifest{mediaType: "a/b", bytes: []byte("{}")}.encode())
	f.Add(index.Manifest{external: true, mediaType: "a/b"}.encode())
	referrers, err := index.EncodeReferrers(Referrers{Descriptors: []oci.Descriptor{{Digest: d}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(referrers)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Both as found and with a checksum that is right, which a fuzzer does
		// not find by itself.
		for _, b := range [][]byte{b, record.Seal(append([]byte{record.Version}, b...))} {
			if r, ok := index.DecodeBlob(b); ok && !bytes.Equal(r.encode(), b) {
				t.Errorf("blob %+v", r)
			}
			if r, ok := index.DecodeUse(b); ok && !bytes.Equal(r.encode(), b) {
				t.Errorf("use %+v", r)
			}
			if r, ok := index.DecodeLink(b); ok && !bytes.Equal(r.encode(), b) {
				t.Errorf("link %+v", r)
			}
			if r, ok := index.DecodeOrigin(b); ok && !bytes.Equal(r.encode(), b) {
				t.Errorf("origin %+v", r)
			}
			if r, ok := index.DecodeTag(b); ok {
				if again, ok := index.DecodeTag(index.EncodeTag(r)); !ok || again != r {
					t.Errorf("tag %+v became %+v", r, again)
				}
			}
			if r, ok := index.DecodeManifest(b); ok {
				again, ok := index.DecodeManifest(r.encode())
				if !ok || again.mediaType != r.mediaType || again.external != r.external || !bytes.Equal(again.bytes, r.bytes) {
					t.Errorf("manifest %+v became %+v", r, again)
				}
			}
			if r, ok := index.DecodeReferrers(b); ok {
				if _, err := index.EncodeReferrers(r); err != nil {
					t.Errorf("referrers %+v: %v", r, err)
				}
			}
		}
	})
}
