package mirror_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Who asks for a manifest as a blob gets it with its type, if the upstream has it as
// a blob too, or the store has; and otherwise nothing, as from the upstream.
func TestManifestAsBlob(t *testing.T) {
	for name, c := range map[string]struct {
		padding int
		blob    bool // the upstream has it as a blob
		status  int
	}{
		"of an upstream that has it as a blob": {10, true, http.StatusOK},
		"of another upstream":                  {10, false, http.StatusNotFound},
		"in a file of its own":                 {600 << 10, false, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			raw, err := json.Marshal(map[string]any{
				"schemaVersion": 2, "manifests": []any{}, "annotations": map[string]string{"k": strings.Repeat("v", c.padding)},
			})
			if err != nil {
				t.Fatal(err)
			}
			d := f.upstream.PutManifest(repository, "1", ocispec.MediaTypeImageIndex, raw)
			if c.blob {
				f.upstream.PutBlob(repository, raw)
			}
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest("1")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b, status, err := f.mirror.Blob(t.Context(), blobRequest(d))
				if c.status != http.StatusOK {
					wantStatus(t, err, c.status)
					continue
				}
				if err != nil || b.MediaType != ocispec.MediaTypeImageIndex || b.Size != int64(len(raw)) {
					t.Fatalf("blob is %+v, %+v, %v", b, status, err)
				}
				if err := b.Content.Close(); err != nil {
					t.Error(err)
				}
				stat, _, err := f.mirror.StatBlob(t.Context(), blobRequest(d))
				if err != nil || stat.MediaType != ocispec.MediaTypeImageIndex || stat.Size != b.Size {
					t.Errorf("HEAD tells %+v, %v", stat, err)
				}
			}
		})
	}
}
