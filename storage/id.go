package storage

import (
	"encoding/hex"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// The algorithms, as they stand in keys.
const (
	algorithmSHA256 = 1
	algorithmSHA512 = 2
)

// id is a validated digest as it stands in keys: one byte for the algorithm and
// the raw sum. All names of files and keys of content are made from it, so that
// none can be made from foreign text.
type id string

// idOf returns the id of a digest, or the *oci.Error of oci.ParseDigest.
func idOf(d digest.Digest) (id, error) {
	var buffer [65]byte
	raw, err := appendID(buffer[:0], d)
	return id(raw), err
}

// appendID appends the id of a digest to a key: as idOf, for hits.
func appendID(b []byte, d digest.Digest) ([]byte, error) {
	d, err := oci.ParseDigest(d.String())
	if err != nil {
		return nil, err
	}
	algorithm := byte(algorithmSHA256)
	if len(d) > len("sha512:")+64 {
		algorithm = algorithmSHA512
	}
	return hex.AppendDecode(append(b, algorithm), []byte(d[len("sha256:"):]))
}

// valid reports whether an id that was read from a key can be one.
func (i id) valid() bool {
	return len(i) == 33 && i[0] == algorithmSHA256 || len(i) == 65 && i[0] == algorithmSHA512
}

// digest returns the digest of a valid id.
func (i id) digest() digest.Digest {
	return digest.NewDigestFromEncoded(i.algorithm(), hex.EncodeToString([]byte(i[1:])))
}

func (i id) algorithm() digest.Algorithm {
	if i[0] == algorithmSHA512 {
		return digest.SHA512
	}
	return digest.SHA256
}

// blobPath is the file of the finished blob, below the root. 4,096 directories
// in one level keep 50 million blobs at 12 thousand entries each.
func (i id) blobPath() string {
	sum := hex.EncodeToString([]byte(i[1:]))
	return path.Join(blobsDir, i.algorithm().String(), sum[:3], sum)
}

// partPath and sidecarPath are the files of a fill, below the root, unless there are
// several of the digest.
func (i id) partPath() string    { return i.partName().partPath() }
func (i id) sidecarPath() string { return i.partName().sidecarPath() }

// ingestPath is what the names of the files of a fill begin with, below the root.
func (i id) ingestPath() string {
	return path.Join(ingestDir, i.algorithm().String()+"-"+hex.EncodeToString([]byte(i[1:])))
}

// idOfIngest returns the id that a file in ingest/ belongs to.
func idOfIngest(name string) (id, error) {
	name, _, _ = strings.Cut(name, ".")
	return idOf(digest.Digest(strings.Replace(name, "-", ":", 1)))
}
