package pulls

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// Each manifest is read once, as long as there is room. What cannot be read, or is large,
// is not.
func TestContentsAreRemembered(t *testing.T) {
	c := contents{byDigest: map[digest.Digest]*content{}}
	layer := digest.FromString("layer")
	manifest := func(n int) oci.Manifest {
		raw := fmt.Appendf(nil, `{"layers":[{"digest":%q,"size":%d}]}`, layer, n)
		return oci.Manifest{Digest: digest.FromBytes(raw), Bytes: raw}
	}
	m := manifest(7)
	for range 2 {
		if got := c.of(m); got.total != 7 || !got.whole || len(got.blobs) != 1 || got.blobs[0] != (blob{layer, 7}) {
			t.Fatalf("it points to %+v", got)
		}
		m.Bytes = nil // it is not read again
	}
	large := manifest(8)
	large.Bytes = append(large.Bytes, bytes.Repeat([]byte(" "), maxRead)...)
	for name, m := range map[string]oci.Manifest{"nothing": {Digest: layer}, "large": large} {
		if got := c.of(m); got != nil {
			t.Errorf("%s points to %+v", name, got)
		}
	}
	large.Contents = &oci.Contents{Blobs: []oci.Descriptor{{Digest: layer, Size: 9}}}
	if got := c.of(large); got == nil || got.total != 9 {
		t.Errorf("what was read already points to %+v", got)
	}
	for n := range 3 * maxContents {
		c.of(manifest(n))
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
