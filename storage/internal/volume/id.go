package volume

import (
	"encoding/hex"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// The algorithms, as they stand in keys.
const (
	SHA256 = 1
	SHA512 = 2
)

// ID is a validated digest as it stands in keys: one byte for the algorithm and
// the raw sum. All names of files and keys of content are made from it, so that
// none can be made from foreign text.
type ID string

// IDOf returns the id of a digest, or the *oci.Error of oci.ParseDigest.
func IDOf(d digest.Digest) (ID, error) {
	var buffer [65]byte
	raw, err := AppendID(buffer[:0], d)
	return ID(raw), err
}

// AppendID appends the id of a digest to a key: as idOf, for hits.
func AppendID(b []byte, d digest.Digest) ([]byte, error) {
	d, err := oci.ParseDigest(d.String())
	if err != nil {
		return nil, err
	}
	algorithm := byte(SHA256)
	if len(d) > len("sha512:")+64 {
		algorithm = SHA512
	}
	return hex.AppendDecode(append(b, algorithm), []byte(d[len("sha256:"):]))
}

// Valid reports whether an id that was read from a key can be one.
func (i ID) Valid() bool {
	return len(i) == 33 && i[0] == SHA256 || len(i) == 65 && i[0] == SHA512
}

// Digest returns the digest of a valid id.
func (i ID) Digest() digest.Digest {
	return digest.NewDigestFromEncoded(i.Algorithm(), hex.EncodeToString([]byte(i[1:])))
}

// Algorithm returns the algorithm of a valid id.
func (i ID) Algorithm() digest.Algorithm {
	if i[0] == SHA512 {
		return digest.SHA512
	}
	return digest.SHA256
}

// BlobPath is the file of the finished blob, below the root. 4,096 directories
// in one level keep 50 million blobs at 12 thousand entries each.
func (i ID) BlobPath() string {
	sum := hex.EncodeToString([]byte(i[1:]))
	return path.Join(BlobsDir, i.Algorithm().String(), sum[:3], sum)
}

// PartPath is the part of a fill, below the root, unless there are several of the digest.
func (i ID) PartPath() string { return i.PartName().PartPath() }

// SidecarPath is the file beside it that says what it holds.
func (i ID) SidecarPath() string { return i.PartName().SidecarPath() }

// ingestPath is what the names of the files of a fill begin with, below the root.
func (i ID) ingestPath() string {
	return path.Join(IngestDir, i.Algorithm().String()+"-"+hex.EncodeToString([]byte(i[1:])))
}

// IDOfIngest returns the id that a file in ingest/ belongs to.
func IDOfIngest(name string) (ID, error) {
	name, _, _ = strings.Cut(name, ".")
	return IDOf(digest.Digest(strings.Replace(name, "-", ":", 1)))
}
