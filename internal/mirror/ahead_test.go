package mirror

import (
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// While an image is being pulled ahead, its blobs, and only those within its
// scope, are known without the manifest.
func TestAheadKnowsItsBlobs(t *testing.T) {
	here, there := oci.Scope{Upstream: "docker.io", Repository: "a"}, oci.Scope{Upstream: "docker.io", Repository: "b"}
	blob, other := oci.Descriptor{Digest: oci.Sum([]byte("1"))}, oci.Descriptor{Digest: oci.Sum([]byte("2"))}
	image := servedManifest{scope: here, digest: oci.Sum([]byte("3"))}
	var a ahead
	if a.has(here, blob.Digest) {
		t.Error("a blob of no image is under way")
	}
	if !a.begin(image, []oci.Descriptor{blob}) || a.begin(image, []oci.Descriptor{blob}) {
		t.Error("an image does not begin once")
	}
	if !a.has(here, blob.Digest) || a.has(there, blob.Digest) || a.has(here, other.Digest) {
		t.Error("other blobs than those of the image are under way")
	}
	a.end(image)
	if a.has(here, blob.Digest) {
		t.Error("a blob is under way after the end")
	}
}
