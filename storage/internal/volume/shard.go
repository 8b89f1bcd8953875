package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// Shard is a directory of blobs: those whose sum begins with the same 12 bits.
type Shard struct {
	Algorithm byte
	N         int
}

// ShardOf returns the directory of a blob by the first bytes of its id.
func ShardOf(i ID) (h Shard, ok bool) {
	if len(i) < 3 || i[0] != SHA256 && i[0] != SHA512 {
		return h, false
	}
	return Shard{i[0], int(i[1])<<4 | int(i[2]>>4)}, true
}

// ShardNamed returns the directory of a name below blobs/.
func ShardNamed(algorithm byte, name string) (h Shard, ok bool) {
	n, err := strconv.ParseUint(name, 16, 12)
	h = Shard{algorithm, int(n)}
	return h, err == nil && path.Base(h.Dir()) == name
}

// Dir returns the name of the directory below the root.
func (h Shard) Dir() string {
	return path.Join(BlobsDir, ID([]byte{h.Algorithm}).Algorithm().String(), fmt.Sprintf("%03x", h.N))
}

// ID returns the id of the blob whose file has the name.
func (h Shard) ID(name string) (ID, bool) {
	i, err := IDOf(digest.NewDigestFromEncoded(ID([]byte{h.Algorithm}).Algorithm(), name))
	return i, err == nil && path.Dir(i.BlobPath()) == h.Dir()
}

// Compare orders directories by their names.
func (h Shard) Compare(other Shard) int {
	if h.Algorithm != other.Algorithm {
		return int(h.Algorithm) - int(other.Algorithm)
	}
	return h.N - other.N
}

// Algorithms are the directories in blobs/.
var Algorithms = map[string]byte{digest.SHA256.String(): SHA256, digest.SHA512.String(): SHA512}

// Shards returns the directories of blobs that there are, in order.
func Shards(root Files) ([]Shard, error) {
	var shards []Shard
	for name, algorithm := range Algorithms {
		dirs, err := root.ReadDir(path.Join(BlobsDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, d := range dirs {
			if h, ok := ShardNamed(algorithm, d.Name()); ok && d.IsDir() {
				shards = append(shards, h)
			}
		}
	}
	slices.SortFunc(shards, Shard.Compare)
	return shards, nil
}
