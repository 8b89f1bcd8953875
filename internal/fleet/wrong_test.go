package fleet_test

import (
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// A wrong object in the bucket costs one answer at the most, is not charged to the
// upstream, and is replaced.
func TestWrongObjectsAreReplaced(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 3<<20)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)
	m.spoil("v1/b/")
	m.spoil("v1/m/")
	p := image.Platforms[0]

	g := newGateway(t, from, m)
	for _, d := range []oci.Descriptor{image.Index, p.Manifest} {
		if mf, status, err := g.manifest(repository, d.Digest.String()); err != nil || mf.Digest != d.Digest || status.Detail != "" {
			t.Errorf("manifest: %v, %v", status, err)
		}
	}
	// Of a small blob, nobody gets a byte before all are right.
	if raw, _, err := g.blob(repository, p.Layers[0].Digest); err != nil || !oci.Verify(p.Layers[0].Digest, raw) {
		t.Errorf("small blob: %v", err)
	}
	if _, _, err := g.blob(repository, p.Layers[1].Digest); oci.ClassOf(err) != oci.ClassDigest {
		t.Errorf("large blob: %v, want the class digest", err)
	}
	raw, status, err := g.blob(repository, p.Layers[1].Digest)
	if err != nil || !oci.Verify(p.Layers[1].Digest, raw) || status.Detail != "" {
		t.Errorf("next try: %v, %v", status, err)
	}
	await(t, "replacement", func() bool {
		for _, d := range []oci.Descriptor{p.Layers[0], p.Layers[1]} {
			o, err := m.object("v1/b/sha256/" + d.Digest.Encoded())
			if err != nil || !oci.Verify(d.Digest, o.content) {
				return false
			}
		}
		for _, d := range []oci.Descriptor{image.Index, p.Manifest} {
			o, err := m.object("v1/m/sha256/" + d.Digest.Encoded())
			if err != nil || !oci.Verify(d.Digest, o.content) {
				return false
			}
		}
		return true
	})
	from.Reset()
	newGateway(t, from, m).pull(image, 0)
	if n := from.Count("GET", "blobs"); n != 1 { // the config is wrong yet
		t.Errorf("%d blobs of the upstream", n)
	}
}
