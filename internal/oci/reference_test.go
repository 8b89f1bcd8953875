package oci

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestParseReference(t *testing.T) {
	for _, s := range []string{
		"latest", "v1.2.3", "_", "A", "0", "a-._", strings.Repeat("x", 128), "sha256", "manifests",
		"sha256-" + hex64, "sha256-" + hex64 + ".sig",
	} {
		if r, err := ParseReference(s); err != nil || r.Tag != s || r.IsDigest() || r.String() != s || !ValidTag(s) {
			t.Errorf("ParseReference(%q) = %+v, %v", s, r, err)
		}
	}
	s := "sha256:" + hex64
	if r, err := ParseReference(s); err != nil || r.Digest.String() != s || r.Tag != "" || !r.IsDigest() || r.String() != s {
		t.Errorf("ParseReference(%q) = %+v, %v", s, r, err)
	}
	for _, s := range []string{
		"", ".a", "-a", "a/b", "a b", "a\n", "a%41", "ä", "..", strings.Repeat("x", 129), "a\x00",
	} {
		_, err := ParseReference(s)
		wantError(t, err, CodeManifestInvalid, http.StatusBadRequest)
	}
	for _, s := range []string{":", ":abc", "latest:x", "sha256:" + hex64[1:], "md5:" + hex64[:32]} {
		_, err := ParseReference(s)
		wantError(t, err, CodeDigestInvalid, http.StatusBadRequest)
	}
}

func TestCheckRepository(t *testing.T) {
	for _, name := range []string{
		"a", "0", "library/nginx", "a/b/c/d/e", "a.b", "a_b", "a__b", "a-b", "a--b", "a----b", "a.b_c__d-e",
		"google.com/project/x", "manifests", "v2/v2", strings.Repeat("a", 255), strings.Repeat("a/", 127) + "a",
	} {
		if err := CheckRepository(name); err != nil {
			t.Errorf("CheckRepository(%q): %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", "-a", "a-", ".a", "a.", "_a", "a_", "a..b", "a___b", "a._b", "a-.b", "a_-b", "a-_b",
		"A", "aB", "a b", "a\x00", "a\n", "a%2fb", "a:b", "a@b", "ä", "а", "a\u200d", "..", "a/../b", `a\b`,
		strings.Repeat("a", 256), strings.Repeat("a", 1<<16),
	} {
		wantError(t, CheckRepository(name), CodeNameInvalid, http.StatusBadRequest)
	}
}

func TestReferrersTag(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		digest.Digest("sha256:" + hex64):  "sha256-" + hex64,
		digest.Digest("sha512:" + hex128): "sha512-" + hex128[:64],
	} {
		if got := ReferrersTag(d); got != want || !ValidTag(got) {
			t.Errorf("ReferrersTag(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestScopeString(t *testing.T) {
	if got := (Scope{Upstream: "docker.io", Repository: "library/nginx"}).String(); got != "docker.io/library/nginx" {
		t.Errorf("String() = %q", got)
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"latest", "sha256:" + hex64, "", "a:b", ".x", strings.Repeat("x", 129)} {
		f.Add(s)
	}
	tag := regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		_, digestErr := ParseDigest(s)
		if want := tag.MatchString(s) || digestErr == nil; (err == nil) != want {
			t.Fatalf("ParseReference(%q): %v", s, err)
		}
		if err == nil && (r.String() != s || (r.Tag == "") == (r.Digest == "")) {
			t.Fatalf("ParseReference(%q) = %+v", s, r)
		}
	})
}

func FuzzCheckRepository(f *testing.F) {
	for _, s := range []string{"library/nginx", "a__b", "a___b", "a-_b", "", "/", "a--b/c.d"} {
		f.Add(s)
	}
	// The grammar as the distribution spec has it ("Pulling manifests").
	grammar := regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	f.Fuzz(func(t *testing.T, s string) {
		want := grammar.MatchString(s) && len(s) <= MaxRepositoryLength
		if err := CheckRepository(s); (err == nil) != want {
			t.Fatalf("CheckRepository(%q): %v", s, err)
		}
	})
}
