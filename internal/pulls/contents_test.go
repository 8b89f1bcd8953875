package pulls

import (
	"context"
	"fmt"
	"io/fs"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// Each manifest is read once, as long as there is room, and what cannot be read is asked
// for again.
func TestContentsAreRemembered(t *testing.T) {
	reads := 0
	stored := map[digest.Digest][]byte{}
	c := contents{byDigest: map[digest.Digest]*content{}, read: func(_ context.Context, d digest.Digest) (oci.Manifest, error) {
		reads++
		raw, ok := stored[d]
		if !ok {
			return oci.Manifest{}, fs.ErrNotExist
		}
		return oci.Manifest{Digest: d, Bytes: raw}, nil
	}}
	layer := digest.FromString("layer")
	manifest := func(n int) digest.Digest {
		raw := fmt.Appendf(nil, `{"layers":[{"digest":%q,"size":%d}]}`, layer, n)
		stored[digest.FromBytes(raw)] = raw
		return digest.FromBytes(raw)
	}
	for range 2 {
		if got := c.of(t.Context(), manifest(7)); got.total != 7 || !got.whole || len(got.blobs) != 1 || got.blobs[0] != (blob{layer, 7}) {
			t.Fatalf("it points to %+v", got)
		}
		if got := c.of(t.Context(), layer); got != nil {
			t.Errorf("what is not stored points to %+v", got)
		}
	}
	if reads != 3 {
		t.Errorf("%d reads", reads)
	}
	for n := range 3 * maxContents {
		c.of(t.Context(), manifest(n))
	}
	if len(c.byDigest) != maxContents || len(c.order) != maxContents {
		t.Errorf("%d are remembered, in an order of %d", len(c.byDigest), len(c.order))
	}
}

// Of what has more blobs than are told apart, the size is known all the same.
func TestContentOfManyBlobs(t *testing.T) {
	of := oci.Contents{Blobs: make([]oci.Descriptor, 2*maxBlobs), Manifests: []oci.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: "a", Platform: &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: "b", Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: "c"},
	}}
	for i := range of.Blobs {
		of.Blobs[i].Size = []int64{-1, 1}[i%2]
	}
	c := newContent(of)
	if c.whole || len(c.blobs) != maxBlobs || c.total != maxBlobs {
		t.Errorf("whole: %v, %d blobs of %d bytes", c.whole, len(c.blobs), c.total)
	}
	if len(c.children) != 3 || c.children["a"] != "linux/arm/v7" || c.children["b"] != "" || c.children["c"] != "" {
		t.Errorf("the platforms are %v", c.children)
	}
}
