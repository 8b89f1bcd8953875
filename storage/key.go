package storage

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// The tables: the first byte of each key.
//
//	t upstream 00 repository 00 tag   tagRecord
//	s upstream 00 repository          useRecord, the hour in which it was first linked to
//	m id                              manifestRecord
//	l scope id                        linkRecord
//	r scope id                        referrersRecord
//	o id upstream                     originRecord; of the upstream, its hash
//	p pattern                         when it was made
//	b id                              blobRecord
//	a id                              useRecord, of a blob
//	u id                              useRecord, of a manifest
//
// A use stands apart from its blob or manifest so that the blind, batched updates of uses
// can neither resurrect nor clobber what was used.
const (
	tableTag       = 't'
	tableScope     = 's'
	tableManifest  = 'm'
	tableLink      = 'l'
	tableReferrers = 'r'
	tableOrigin    = 'o'
	tablePin       = 'p'
	tableBlob      = 'b'
	tableUse       = 'a'

	tableManifestUse = 'u'
)

// scopeLength is how much of the hash of a scope stands in keys.
const scopeLength = 16

// tableKey returns the key of content in a table.
func tableKey(table byte, i volume.ID) []byte { return append([]byte{table}, i...) }

// scopedKey returns the key of what is known of content within a scope.
func scopedKey(table byte, scope oci.Scope, i volume.ID) ([]byte, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	return append(scopedPrefix(table, scope), i...), nil
}

// keyBytes is what nearly all keys fit into.
const keyBytes = 256

// scopedPrefix returns what the keys of scopedKey begin with.
func scopedPrefix(table byte, scope oci.Scope) []byte {
	return appendScope(nil, table, scope)
}

func appendScope(b []byte, table byte, scope oci.Scope) []byte {
	var buffer [keyBytes]byte
	names := append(append(append(buffer[:0], scope.Upstream...), 0), scope.Repository...)
	sum := sha256.Sum256(names)
	return append(append(b, table), sum[:scopeLength]...)
}

// tagKey returns the key of a tag; an empty tag gives the prefix of all tags of
// the scope.
func tagKey(scope oci.Scope, tag string) ([]byte, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	if tag != "" && !oci.ValidTag(tag) {
		return nil, fmt.Errorf("%q is no tag", tag)
	}
	return appendTag(nil, scope, tag), nil
}

func appendTag(b []byte, scope oci.Scope, tag string) []byte {
	b = append(append(append(b, tableTag), scope.Upstream...), 0)
	return append(append(append(b, scope.Repository...), 0), tag...)
}

// checkScope refuses names that could be taken for those of another scope.
func checkScope(scope oci.Scope) error {
	if scope.Upstream == "" || scope.Repository == "" || strings.ContainsRune(scope.Upstream+scope.Repository, 0) {
		return fmt.Errorf("%q is no scope", scope.String())
	}
	return nil
}
