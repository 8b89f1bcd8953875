package mirror_test

import (
	"net/url"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// The real client under the mirror: tokens, a CDN, and the same counts.
func TestRealClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	base, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client, err := upstream.New(upstream.Options{Name: upstreamName, URLs: []*url.URL{base}, Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	f.policy.Remote = client
	f.configure()
	image := server.PutImage(repository, "3", 1, 1000, 3*mib)
	for range 2 {
		for _, ref := range []string{"3", image.Index.Digest.String(), image.Platforms[0].Manifest.Digest.String()} {
			if _, _, err := f.mirror.StatManifest(t.Context(), manifestRequest(ref)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(ref)); err != nil {
				t.Fatal(err)
			}
		}
		for _, layer := range image.Platforms[0].Layers {
			raw, _, err := f.pull(t.Context(), blobRequest(layer.Digest))
			if err != nil || digest.FromBytes(raw) != layer.Digest {
				t.Errorf("%d wrong bytes, %v", len(raw), err)
			}
		}
	}
	if h, m, b := server.Accepted("HEAD", "manifests"), server.Accepted("GET", "manifests"), server.Accepted("GET", "blobs"); h != 2 || m != 2 || b != 2 {
		t.Errorf("%d HEADs, %d GETs of manifests, %d of blobs: %v", h, m, b, server.Requests())
	}
	_, _, err = f.mirror.Manifest(t.Context(), manifestRequest("none"))
	if !oci.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}
