package mirror_test

import (
	"encoding/json"
	"net/http"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// Who asks for a manifest as a blob gets it with its type, whatever its size, and the
// upstream does not notice.
func TestManifestAsBlob(t *testing.T) {
	for name, padding := range map[string]int{"small": 10, "in a file of its own": 600 << 10} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			text := make([]byte, padding)
			for i := range text {
				text[i] = 'x'
			}
			raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{}, "annotations": map[string]string{"k": string(text)}})
			if err != nil {
				t.Fatal(err)
			}
			d := f.upstream.PutManifest(repository, "1", ocispec.MediaTypeImageIndex, raw)
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("1")); err != nil {
				t.Fatal(err)
			}
			f.upstream.Reset()
			b, status, err := f.mirror.Blob(t.Context(), blobRequest(d))
			if err != nil || b.MediaType != ocispec.MediaTypeImageIndex || status.Result != oci.ResultHit {
				t.Errorf("blob is %+v, %+v, %v", b, status, err)
			}
			f.mustPull(blobRequest(d), raw, oci.ResultHit)
			stat, status, err := f.mirror.StatBlob(t.Context(), blobRequest(d))
			if err != nil || stat.MediaType != ocispec.MediaTypeImageIndex || stat.Size != int64(len(raw)) || status.Result != oci.ResultHit {
				t.Errorf("HEAD tells %+v, %+v, %v", stat, status, err)
			}
			f.saw(0, 0)
		})
	}
}

// A manifest of another repository is none here, and blobs are what they were.
func TestNoManifestAsBlob(t *testing.T) {
	f := newFixture(t)
	d := f.upstream.PutManifest("library/other", "1", ocispec.MediaTypeImageIndex, []byte(`{"manifests":[]}`))
	other := manifestRequest("1")
	other.Repository = "library/other"
	if _, _, err := f.mirror.Manifest(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	wantStatus(t, err, http.StatusNotFound)
	content := []byte(`{"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
	blob := f.upstream.PutBlob(repository, content)
	for range 2 {
		b, status, err := f.mirror.Blob(t.Context(), blobRequest(blob))
		if err != nil || b.MediaType != "" {
			t.Fatalf("blob is %+v, %+v, %v", b, status, err)
		}
		if err := b.Content.Close(); err != nil {
			t.Error(err)
		}
		if status.Result == oci.ResultMiss {
			f.filled()
		}
	}
}
