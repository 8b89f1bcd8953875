package oci

import (
	"crypto/sha256"
	_ "crypto/sha512" // registers sha512 for go-digest
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ParseDigest returns s as a digest. It accepts sha256 and sha512 in lower-case
// hexadecimal of the exact length and nothing else (image-spec, descriptor.md);
// any other text is a DIGEST_INVALID *Error.
func ParseDigest(s string) (digest.Digest, error) {
	var hexLength int
	switch {
	case len(s) > 7 && s[:7] == "sha256:":
		hexLength = 64
	case len(s) > 7 && s[:7] == "sha512:":
		hexLength = 128
	default:
		return "", errDigest(s)
	}
	if len(s) != 7+hexLength {
		return "", errDigest(s)
	}
	for i := 7; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", errDigest(s)
		}
	}
	return digest.Digest(s), nil
}

func errDigest(s string) error {
	return NewError(CodeDigestInvalid, fmt.Sprintf(
		"%q is no digest: want sha256: and 64, or sha512: and 128, lower-case hexadecimal digits", Clip(s)))
}

// Sum returns the sha256 digest of b.
func Sum(b []byte) digest.Digest {
	sum := sha256.Sum256(b)
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
}

// Verify reports whether b has the digest d, of either algorithm. What
// ParseDigest refuses is the digest of nothing.
func Verify(d digest.Digest, b []byte) bool {
	if _, err := ParseDigest(d.String()); err != nil {
		return false // go-digest panics on a text without a colon
	}
	return d.Algorithm().FromBytes(b) == d
}

// Clip shortens foreign text for a message.
func Clip(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}
