package bundle

import (
	"bytes"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// Whatever is read, only what matches its digest comes out, and the two ways to
// read a tar do not contradict each other.
func FuzzOpen(f *testing.F) {
	image, all := sized(f, "docker.io/library/alpine:3.20", 1, 20)
	raw := write(f, Index{Images: []Image{image}}, all)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	entries, _ := oldArchive(f, 20, "alpine:3")
	f.Add(tarOf(f, entries...))
	f.Add(tarOf(f, file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), file("index.json", []byte(`{"schemaVersion":2,"manifests":[]}`))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read := func(r *Reader, err error) (pieces, error) {
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
		filed, filedErr := read(openFile(inMemory{bytes.NewReader(raw)}))
		streamed, streamedErr := read(NewStream(bytes.NewReader(raw)))
		if filedErr == nil && streamedErr == nil && !same(filed, streamed) {
			t.Error("the file holds something else than the stream")
		}
		if filedErr != nil && streamedErr == nil {
			t.Errorf("the stream is good, and the file is not: %v", filedErr)
		}
	})
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }
