package registry

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// A blob that is known to be a manifest has that type.
func TestTypedBlob(t *testing.T) {
	b := []byte(`{"manifests":[]}`)
	m := &fakeMirror{blob: func(context.Context) oci.Blob {
		return oci.Blob{Digest: oci.Sum(b), MediaType: ocispec.MediaTypeImageIndex, Size: int64(len(b)), Content: &fill{
			Reader: bytes.NewReader(b), piece: 5, closed: func() {},
		}}
	}}
	w := record(New(options(m)), http.MethodGet, testPrefix+"/blobs/"+oci.Sum(b).String())
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != ocispec.MediaTypeImageIndex || w.Body.String() != string(b) ||
		w.Header().Get("Content-Length") != strconv.Itoa(len(b)) {
		t.Errorf("status %d, %v, %s", w.Code, w.Header(), w.Body)
	}
}
