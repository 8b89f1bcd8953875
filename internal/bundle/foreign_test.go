package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is no bundle is called so, and nothing of it gets to the terminal.
func TestNoBundle(t *testing.T) {
	noise := make([]byte, 100_000)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(noise)
	page := []byte("<!DOCTYPE html><title>SECRET</title>" + strings.Repeat("<p>SECRET\x1b[31m</p>", 100))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(page)
	_ = z.Close()
	for name, test := range map[string]struct {
		raw  []byte
		want string
	}{
		"noise": {noise, "it is no tar"}, "page": {page, "it is no tar"}, "short": {[]byte("SECRET"), "it is no tar"}, "page in gzip": {zipped.Bytes(), "it is no tar"},
		"zip": {append([]byte("PK\x03\x04"), noise...), "it is no tar"}, "nothing": {nil, "it is empty"}, "zeros": {make([]byte, 10_240), "it is empty"},
		"almost gzip": {[]byte("\x1f\x8bxx"), "it cannot be decompressed with gzip"},
		"another tar": {tarOf(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: "SECRET.txt"}, []byte("x")}), "it holds neither oci-layout nor manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, test.raw, func(t *testing.T, _ pieces, err error) {
				damage, ok := errors.AsType[*DamageError](err)
				if !ok || !damage.Foreign || !strings.Contains(err.Error(), "it is no image bundle: "+test.want) || strings.Contains(err.Error(), "SECRET") {
					t.Errorf("error is %v", err)
				}
			})
		})
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "SECRET"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder); err == nil || err.Error() != "it is no image bundle: the folder holds no oci-layout, as image layouts do" {
		t.Errorf("folder: %v", err)
	}
}
