package index

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
//	s upstream 00 repository          Use, the hour in which it was first linked to
//	m id                              Manifest
//	l scope id                        LinkRecord
//	r scope id                        referrersRecord
//	o id upstream                     OriginRecord; of the upstream, its hash
//	p pattern                         when it was made
//	b id                              Blob
//	a id                              Use, of a blob
//	u id                              Use, of a manifest
//
// A use stands apart from its blob or manifest so that the blind, batched updates of uses
// can neither resurrect nor clobber what was used.
const (
	TableTag       = 't'
	TableScope     = 's'
	TableManifest  = 'm'
	TableLink      = 'l'
	TableReferrers = 'r'
	TableOrigin    = 'o'
	TablePin       = 'p'
	TableBlob      = 'b'
	TableUse       = 'a'

	TableManifestUse = 'u'
)

// ScopeLength is how much of the hash of a scope stands in keys.
const ScopeLength = 16

// TableKey returns the key of content in a table.
func TableKey(table byte, i volume.ID) []byte { return append([]byte{table}, i...) }

// ScopedKey returns the key of what is known of content within a scope.
func ScopedKey(table byte, scope oci.Scope, i volume.ID) ([]byte, error) {
	if err := CheckScope(scope); err != nil {
		return nil, err
	}
	return append(ScopedPrefix(table, scope), i...), nil
}

// KeyBytes is what nearly all keys fit into.
const KeyBytes = 256

// ScopedPrefix returns what the keys of ScopedKey begin with.
func ScopedPrefix(table byte, scope oci.Scope) []byte {
	return AppendScope(nil, table, scope)
}

// AppendScope appends what the keys of ScopedKey begin with.
func AppendScope(b []byte, table byte, scope oci.Scope) []byte {
	var buffer [KeyBytes]byte
	names := append(append(append(buffer[:0], scope.Upstream...), 0), scope.Repository...)
	sum := sha256.Sum256(names)
	return append(append(b, table), sum[:ScopeLength]...)
}

// TagKey returns the key of a tag; an empty tag gives the prefix of all tags of
// the scope.
func TagKey(scope oci.Scope, tag string) ([]byte, error) {
	if err := CheckScope(scope); err != nil {
		return nil, err
	}
	if tag != "" && !oci.ValidTag(tag) {
		return nil, fmt.Errorf("%q is no tag", tag)
	}
	return AppendTag(nil, scope, tag), nil
}

// AppendTag appends the key of a tag, of names that were checked.
func AppendTag(b []byte, scope oci.Scope, tag string) []byte {
	b = append(append(append(b, TableTag), scope.Upstream...), 0)
	return append(append(append(b, scope.Repository...), 0), tag...)
}

// CheckScope refuses names that could be taken for those of another scope.
func CheckScope(scope oci.Scope) error {
	if scope.Upstream == "" || scope.Repository == "" || strings.ContainsRune(scope.Upstream+scope.Repository, 0) {
		return fmt.Errorf("%q is no scope", scope.String())
	}
	return nil
}

// ScopeKey returns the key of a scope by its names, which the hash in other keys
// does not tell.
func ScopeKey(scope oci.Scope) []byte {
	return []byte(string(rune(TableScope)) + scope.Upstream + "\x00" + scope.Repository)
}

// ScopeOf returns the scope that a key of so many names begins with, if it is one
// of the upstreams of a name; empty = of all.
func ScopeOf(key []byte, upstream string, names int) (oci.Scope, bool) {
	fields := strings.Split(string(key[1:]), "\x00")
	if len(fields) != names || upstream != "" && oci.UpstreamName(fields[0]) != upstream {
		return oci.Scope{}, false
	}
	return oci.Scope{Upstream: fields[0], Repository: fields[1]}, true
}

// ScopedID returns the id in a key of ScopedKey.
func ScopedID(key []byte) (volume.ID, bool) {
	if len(key) < 1+ScopeLength {
		return "", false
	}
	i := volume.ID(key[1+ScopeLength:])
	return i, i.Valid()
}

// OriginKey returns the key of the record of an upstream, as in oci.Scope.
func OriginKey(i volume.ID, upstream string) []byte {
	sum := sha256.Sum256([]byte(upstream))
	return append(TableKey(TableOrigin, i), sum[:ScopeLength]...)
}

// OriginID returns the id in a key of OriginKey.
func OriginID(key []byte) (volume.ID, bool) {
	if len(key) < 1+ScopeLength {
		return "", false
	}
	i := volume.ID(key[1 : len(key)-ScopeLength])
	return i, i.Valid()
}
