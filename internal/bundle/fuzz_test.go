package bundle

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// Whatever is read, only what matches its digest comes out, and the two ways to
// read a tar do not contradict each other.
func FuzzOpen(f *testing.F) {
	raw, _, _ := sampleBundle(f)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	entries, _ := oldArchive(f, "alpine:3")
	f.Add(tarOf(f, entries...))
	f.Add(tarOf(f, file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), file("index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read := func(r Reader, err error) (pieces, error) {
			if err != nil {
				return nil, err
			}
			defer r.Close()
			got, err := readAll(r)
			for d, content := range got {
				if !oci.Verify(d, content) {
					t.Errorf("%s was handed out", d)
				}
			}
			return got, err
		}
		path := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		filed, filedErr := read(Open(path))
		streamed, streamedErr := read(NewStream(bytes.NewReader(raw)))
		if filedErr == nil && streamedErr == nil && !same(filed, streamed) {
			t.Error("the file holds something else than the stream")
		}
		if filedErr != nil && streamedErr == nil && !errors.Is(filedErr, os.ErrNotExist) {
			t.Errorf("the stream is good, and the file is not: %v", filedErr)
		}
	})
}
