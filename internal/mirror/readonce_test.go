package mirror_test

import (
	"context"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// telling is a remote that says that every manifest points to some blobs, which no other
// reader of it would find.
type telling struct {
	*remote

	blobs []oci.Descriptor
}

func (r telling) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	m, err := r.remote.Manifest(ctx, repository, ref)
	m.Contents = &oci.Contents{Blobs: r.blobs}
	return m, err
}

// A manifest that the remote has read is not read again: what it points to is what the
// remote tells. Nobody keeps that.
func TestManifestIsNotReadAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	blob := oci.Descriptor{Digest: oci.Sum([]byte("told")), Size: 77}
	f.policy.Remote = telling{f.remote, []oci.Descriptor{blob}}
	f.configure()
	m, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Index.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	if m.Contents != nil {
		t.Error("the contents are kept")
	}
	if link, err := f.store.Linked(t.Context(), own, blob.Digest); err != nil || link.Size != 77 {
		t.Errorf("the link is %+v, %v", link, err)
	}
	if _, err := f.store.Linked(t.Context(), own, image.Platforms[0].Manifest.Digest); err == nil {
		t.Error("the manifest was read again")
	}
}

// Of a manifest that names more than anybody pulls, so much is linked as the store
// writes at a time, and the manifest is stored.
func TestManifestOfManyBlobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var blobs []oci.Descriptor
	for i := range 16_000 {
		blobs = append(blobs, oci.Descriptor{Digest: oci.Sum([]byte{byte(i), byte(i >> 8)}), Size: 1})
	}
	m := f.upstream.PutManifest(repository, "3", "application/vnd.oci.image.manifest.v1+json", []byte(`{"layers":[]}`))
	f.policy.Remote = telling{f.remote, blobs}
	f.configure()
	if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest(m.String())); err != nil || !status.Stored {
		t.Fatalf("%+v, %v", status, err)
	}
	for i, want := range map[int]bool{0: true, 4095: true, 4096: false} {
		if _, err := f.store.Linked(t.Context(), own, blobs[i].Digest); (err == nil) != want {
			t.Errorf("blob %d: %v", i, err)
		}
	}
}
