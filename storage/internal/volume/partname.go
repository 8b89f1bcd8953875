package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// PartName is the name of the files of a part, without what they end in. The part of a
// digest has the plain name; where that is another upstream's, the name tells whose it
// is, too.
type PartName string

// PartName returns the plain name.
func (i ID) PartName() PartName { return PartName(path.Base(i.ingestPath())) }

// originLength is how much of the hash of an upstream stands in the name.
const originLength = 16

// PartNameOf returns the name of the part of an upstream where another has the plain one.
func (i ID) PartNameOf(origin string) PartName {
	sum := sha256.Sum256([]byte(origin))
	return i.PartName() + PartName("."+hex.EncodeToString(sum[:originLength]))
}

// PartNameIn returns the name of the part that a file in ingest/ belongs to.
func PartNameIn(file string) PartName {
	file = strings.TrimSuffix(file, Temporary)
	return PartName(strings.TrimSuffix(strings.TrimSuffix(file, ".json"), ".part"))
}

// PartPath is the file of the part, below the root.
func (n PartName) PartPath() string { return path.Join(IngestDir, string(n)+".part") }

// SidecarPath is the file beside it that says what it holds.
func (n PartName) SidecarPath() string { return path.Join(IngestDir, string(n)+".json") }
