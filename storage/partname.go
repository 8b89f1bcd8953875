package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// partName is the name of the files of a part, without what they end in. The part of a
// digest has the plain name; where that is another upstream's, the name tells whose it
// is, too.
type partName string

func (i id) partName() partName { return partName(path.Base(i.ingestPath())) }

func (i id) partNameOf(origin string) partName {
	sum := sha256.Sum256([]byte(origin))
	return i.partName() + partName("."+hex.EncodeToString(sum[:scopeLength]))
}

// partNameIn returns the name of the part that a file in ingest/ belongs to.
func partNameIn(file string) partName {
	file = strings.TrimSuffix(file, temporary)
	return partName(strings.TrimSuffix(strings.TrimSuffix(file, ".json"), ".part"))
}

func (n partName) partPath() string    { return path.Join(ingestDir, string(n)+".part") }
func (n partName) sidecarPath() string { return path.Join(ingestDir, string(n)+".json") }
