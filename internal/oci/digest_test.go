package oci

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

var (
	hex64  = strings.Repeat("0123456789abcdef", 4)
	hex128 = hex64 + hex64
)

// wantError fails unless err is an *Error of the code and the status.
func wantError(t *testing.T, err error, code Code, status int) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status {
		t.Errorf("error is %v, want %s with status %d", err, code, status)
	}
}

func TestParseDigest(t *testing.T) {
	for _, s := range []string{"sha256:" + hex64, "sha512:" + hex128} {
		if d, err := ParseDigest(s); err != nil || d.String() != s || d.Validate() != nil {
			t.Errorf("ParseDigest(%q) = %q, %v", s, d, err)
		}
	}
	for _, s := range []string{
		"", ":", "sha256", "sha256:", ":abc", "sha512:",
		"sha256:" + hex64[1:], "sha256:" + hex64 + "0", // 63 and 65 digits
		"sha256:" + hex128, "sha512:" + hex64,
		"sha256:" + strings.ToUpper(hex64), "SHA256:" + hex64,
		"sha256:" + strings.Repeat("g", 64), "sha256:sha256:" + hex64[7:],
		"sha256+b64:" + hex64, "sha256-" + hex64,
		"md5:" + hex64[:32], "sha1:" + hex64[:40], "sha224:" + hex64[:56], "sha384:" + hex128[:96], "crc32:1",
		"sha256:" + hex64[:63] + "\n", "sha256:" + hex64[:62] + "é", " sha256:" + hex64, "sha256:../../" + hex64[6:],
		"sha256:" + strings.Repeat("0", 1<<16),
	} {
		d, err := ParseDigest(s)
		wantError(t, err, CodeDigestInvalid, http.StatusBadRequest)
		if d != "" {
			t.Errorf("ParseDigest(%.80q) = %q beside an error", s, d)
		}
		if len(err.Error()) > 2000 {
			t.Errorf("the message for %.20q has %d bytes", s, len(err.Error()))
		}
	}
}

func TestVerify(t *testing.T) {
	b := []byte("content")
	for _, d := range []digest.Digest{Sum(b), digest.SHA256.FromBytes(b), digest.SHA512.FromBytes(b)} {
		if !Verify(d, b) || Verify(d, b[1:]) {
			t.Errorf("Verify(%s) is wrong", d)
		}
	}
	for _, d := range []digest.Digest{"", "sha256", "sha256:", "md5:" + "0", digest.SHA384.FromBytes(b)} {
		if Verify(d, b) {
			t.Errorf("Verify(%q) = true", d)
		}
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, s := range []string{"", "sha256:" + hex64, "sha512:" + hex128, "sha256:" + hex128, "md5:x", "sha256:\x00"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\z`)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if (err == nil) != grammar.MatchString(s) {
			t.Fatalf("ParseDigest(%q): %v", s, err)
		}
		if err == nil && (d.String() != s || d.Validate() != nil) {
			t.Fatalf("ParseDigest(%q) = %q", s, d)
		}
		Verify(digest.Digest(s), nil) // must not panic
	})
}
