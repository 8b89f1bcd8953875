package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// MaxRepositoryLength is the longest repository name in bytes. Clients limit
// host and name together to 255 (distribution-spec, "Pulling manifests").
const MaxRepositoryLength = 255

// Scope is the unit of access: one repository of one upstream. A digest that
// was proven to belong to a scope is linked to it; see the package storage.
type Scope struct {
	// Upstream is the identity of the upstream: its configured name, or that,
	// "#" and a fingerprint where the same name can mean different content.
	Upstream string
	// Repository is the name as the upstream knows it ("library/alpine").
	Repository string
}

// UpstreamName returns the configured name of an upstream that is identified as
// in Scope.Upstream.
func UpstreamName(identity string) string {
	name, _, _ := strings.Cut(identity, "#")
	return name
}

// String returns "upstream/repository" for people: without what tells identities of
// one name apart.
func (s Scope) String() string { return UpstreamName(s.Upstream) + "/" + s.Repository }

// Reference names one manifest of a repository: by tag, or by digest. Exactly
// one of the fields is set.
type Reference struct {
	Tag    string
	Digest digest.Digest
}

// ParseReference reads the <reference> of a manifest route. Its error is an
// *Error: DIGEST_INVALID for what has a colon, MANIFEST_INVALID otherwise.
func ParseReference(s string) (Reference, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Reference{Digest: d}, err
	}
	if !ValidTag(s) {
		return Reference{}, NewError(CodeManifestInvalid, fmt.Sprintf("%q is neither a tag nor a digest", Clip(s)))
	}
	return Reference{Tag: s}, nil
}

// IsDigest reports whether the reference is a digest.
func (r Reference) IsDigest() bool { return r.Digest != "" }

// String returns the tag or the digest as it stands in a URL.
func (r Reference) String() string {
	if r.IsDigest() {
		return r.Digest.String()
	}
	return r.Tag
}

// ValidTag reports whether s is a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
// (distribution-spec, "Pulling manifests").
func ValidTag(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return true
}

// CheckRepository returns a NAME_INVALID *Error unless name is a repository
// name of the distribution spec: path components of [a-z0-9]+, joined inside a
// component by ".", "_", "__" or any number of "-".
func CheckRepository(name string) error {
	if name == "" || len(name) > MaxRepositoryLength {
		return NewError(CodeNameInvalid, fmt.Sprintf(
			"a repository name has 1 to %d characters, this one %d", MaxRepositoryLength, len(name)))
	}
	for component := range strings.SplitSeq(name, "/") {
		if !validComponent(component) {
			return NewError(CodeNameInvalid, fmt.Sprintf("%q is no repository name", Clip(name)))
		}
	}
	return nil
}

func validComponent(s string) bool {
	if s == "" || !isAlnum(s[0]) || !isAlnum(s[len(s)-1]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case isAlnum(c), c == '-' && (s[i-1] == '-' || isAlnum(s[i-1])):
		case c == '.' && isAlnum(s[i-1]):
		case c == '_' && (isAlnum(s[i-1]) || s[i-1] == '_' && isAlnum(s[i-2])):
		default:
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// ReferrersTag returns the tag under which registries without the referrers
// API keep the index of what refers to d (distribution-spec, "Referrers Tag
// Schema"): the algorithm cut to 32 characters, "-", the hex cut to 64.
func ReferrersTag(d digest.Digest) string {
	algorithm, hex := d.Algorithm().String(), d.Encoded()
	return algorithm[:min(len(algorithm), 32)] + "-" + hex[:min(len(hex), 64)]
}
