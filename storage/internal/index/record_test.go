package index

import (
	"bytes"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
)

// Decoders take whatever a broken disk may give them. What they accept is what
// encoders make, up to the length of a number.
func FuzzDecode(f *testing.F) {
	d := oci.Sum(nil)
	f.Add(Blob{Size: 5, Created: time.Unix(7, 0)}.Encode())
	f.Add(Blob{Size: 5, Created: time.Unix(7, 0), Origin: "docker.io#0123"}.Encode())
	f.Add(Use(5).Encode())
	f.Add(LinkRecord{Link: Link{Size: -1}}.Encode())
	f.Add(LinkRecord{Link: Link{Size: 5, Proven: true}, Made: 7}.Encode())
	f.Add(LinkRecord{Link: Link{Size: 5, Proven: true, Proved: time.Unix(7, 0)}, Made: 7}.Encode())
	f.Add(OriginRecord{Made: 7, Open: true}.Encode())
	f.Add(EncodeTag(Tag{Digest: d, MediaType: "a/b", Size: 5, Checked: time.Unix(7, 0)}))
	f.Add(Manifest{MediaType: "a/b", Bytes: []byte("{}")}.Encode())
	f.Add(Manifest{External: true, MediaType: "a/b"}.Encode())
	referrers, err := EncodeReferrers(Referrers{Descriptors: []oci.Descriptor{{Digest: d}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(referrers)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Both as found and with a checksum that is right, which a fuzzer does
		// not find by itself.
		for _, b := range [][]byte{b, record.Seal(append([]byte{record.Version}, b...))} {
			if r, ok := DecodeBlob(b); ok && !bytes.Equal(r.Encode(), b) {
				t.Errorf("blob %+v", r)
			}
			if r, ok := DecodeUse(b); ok && !bytes.Equal(r.Encode(), b) {
				t.Errorf("use %+v", r)
			}
			if r, ok := DecodeLink(b); ok && !bytes.Equal(r.Encode(), b) {
				t.Errorf("link %+v", r)
			}
			if r, ok := DecodeOrigin(b); ok && !bytes.Equal(r.Encode(), b) {
				t.Errorf("origin %+v", r)
			}
			if r, ok := DecodeTag(b); ok {
				if again, ok := DecodeTag(EncodeTag(r)); !ok || again != r {
					t.Errorf("tag %+v became %+v", r, again)
				}
			}
			if r, ok := DecodeManifest(b); ok {
				again, ok := DecodeManifest(r.Encode())
				if !ok || again.MediaType != r.MediaType || again.External != r.External || !bytes.Equal(again.Bytes, r.Bytes) {
					t.Errorf("manifest %+v became %+v", r, again)
				}
			}
			if r, ok := DecodeReferrers(b); ok {
				if _, err := EncodeReferrers(r); err != nil {
					t.Errorf("referrers %+v: %v", r, err)
				}
			}
		}
	})
}
