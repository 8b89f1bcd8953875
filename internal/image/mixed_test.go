package image_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

const cacheConfig = "application/vnd.buildkit.cacheconfig.v0"

// blobEntry stores a blob, and returns its descriptor.
func (f *fixture) blobEntry(repository, mediaType string, seed uint64) ocispec.Descriptor {
	f.t.Helper()
	b := registrytest.Random(seed, 2000)
	return ocispec.Descriptor{MediaType: mediaType, Size: int64(len(b)), Digest: f.registry.PutBlob(repository, b)}
}

// putIndex stores an index.
func (f *fixture) putIndex(repository, tag, mediaType string, entries ...ocispec.Descriptor) ocispec.Descriptor {
	f.t.Helper()
	return f.put(repository, tag, mediaType, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: entries,
	})
}

func on(d ocispec.Descriptor, architecture string) ocispec.Descriptor {
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
	return d
}

// putMixed stores images in library/mixed whose indexes and manifests are of every
// shape, each under a tag.
func (f *fixture) putMixed() {
	f.t.Helper()
	const repository, index = "library/mixed", ocispec.MediaTypeImageIndex
	blob := func(mediaType string, seed uint64) ocispec.Descriptor {
		return f.blobEntry(repository, mediaType, seed)
	}
	manifest := func(tag, config string) ocispec.Descriptor { return f.putManifest(repository, tag, config, nil) }
	amd64 := on(manifest("", `{"os":"linux","architecture":"amd64"}`), "amd64")

	// BuildKit: mode=registry with image-manifest=false, of both kinds of types, and
	// with image-manifest=true.
	layer, config := blob(ocispec.MediaTypeImageLayerGzip, 1), blob(cacheConfig, 2)
	layer.Annotations = map[string]string{"buildkit/createdat": "2026-01-01T00:00:00Z", "containerd.io/uncompressed": string(config.Digest)}
	f.putIndex(repository, "cache", index, layer, blob(ocispec.MediaTypeImageLayerZstd, 3), config)
	f.putIndex(repository, "docker-cache", oci.MediaTypeDockerManifestList,
		blob("application/vnd.docker.image.rootfs.diff.tar.gzip", 4), blob(cacheConfig, 5))
	f.putManifest(repository, "image-cache", "{}", func(m *ocispec.Manifest) { m.Config.MediaType = cacheConfig })
	f.putManifest(repository, "artifact", "{}", func(m *ocispec.Manifest) {
		m.ArtifactType, m.Config.MediaType, m.Layers = "application/vnd.example+json", ocispec.MediaTypeEmptyJSON, []ocispec.Descriptor{m.Config}
	})

	f.putIndex(repository, "both", index, amd64, blob("application/vnd.example.data.v1+tar", 6), blob("text/plain", 7))
	f.putIndex(repository, "nested", index, amd64, f.putIndex(repository, "", index, blob(ocispec.MediaTypeImageLayer, 8), config))
	f.putIndex(repository, "platforms", index, on(blob("application/x", 9), "amd64"), on(blob("application/x", 10), "arm64"), blob("application/x", 11))
	f.putIndex(repository, "arm", index, on(blob("application/x", 12), "arm64"))
	f.putIndex(repository, "empty", index)
	attestation := on(manifest("", `{"attestation":1}`), "unknown")
	attestation.Platform.OS = "unknown"
	f.putIndex(repository, "attested", index, amd64, attestation)
	foreign := ocispec.Descriptor{MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Size: 9, Digest: oci.Sum([]byte("windows")), URLs: []string{"https://example.com/x"}}
	f.putManifest(repository, "foreign", `{"os":"windows","architecture":"amd64"}`, func(m *ocispec.Manifest) { m.Layers = append(m.Layers, foreign) })
}

// Whatever an index lists, preload brings in what verify looks for: manifests as
// manifests, and blobs as blobs.
func TestIndexesOfEverything(t *testing.T) {
	f := newFixture(t)
	f.putMixed()
	for _, c := range []struct {
		tag, platforms string
		complete       int
		parts          string // kinds, with their blobs
	}{
		{"cache", "", 1, "manifest 3"},
		{"cache", "linux/amd64", 1, "manifest 3"},
		{"docker-cache", "", 1, "manifest 2"},
		{"image-cache", "", 1, "manifest 2"},
		{"image-cache", "linux/arm64", 1, "manifest 2"},
		{"artifact", "", 1, "manifest 2"},
		{"both", "", 1, "index 2, manifest 2"},
		{"both", "linux/amd64", 1, "index 2, manifest 2"},
		{"both", "linux/arm64", 0, "index 2, platform 0"},
		{"nested", "", 1, "index 0, manifest 2, manifest 2"},
		{"nested", "linux/amd64", 1, "index 0, manifest 2, manifest 2"},
		{"platforms", "", 1, "manifest 3"},
		{"platforms", "linux/amd64", 1, "manifest 2"},
		{"platforms", "linux/s390x", 1, "manifest 1"},
		{"arm", "linux/amd64", 0, "platform 0"},
		{"arm", "linux/arm64", 1, "manifest 1"},
		{"empty", "", 1, "manifest 0"},
		{"attested", "", 1, "index 0, manifest 2, manifest 2"},
		{"attested", "linux/amd64", 1, "index 0, manifest 2"},
		{"foreign", "windows/amd64", 1, "manifest 2"},
	} {
		choice := image.Choice{Platforms: platforms(t, strings.Fields(c.platforms)...)}
		f.preload(c.complete, image.PreloadOptions{Choice: choice}, "mixed:"+c.tag)
		reports, _ := f.verify(c.complete, image.VerifyOptions{Choice: choice, Deep: true}, "mixed:"+c.tag)
		if got := shape(reports[0]); got != c.parts {
			t.Errorf("%s for %q is %s, want %s", c.tag, c.platforms, got, c.parts)
		}
	}
	for _, r := range f.registry.Requests() {
		if r.Status >= 400 {
			t.Errorf("the upstream was asked for what it does not have: %s", r)
		}
	}
}

func shape(r image.Report) string {
	var parts []string
	for _, p := range r.Parts {
		parts = append(parts, string(p.Kind)+" "+string(rune('0'+p.Blobs)))
	}
	return strings.Join(parts, ", ")
}

// A blob that an index lists and that is gone is missed.
func TestIndexWithoutItsBlob(t *testing.T) {
	f := newFixture(t)
	f.putMixed()
	gone := f.blobEntry("library/mixed", "text/plain", 7)
	f.registry.DeleteBlob("library/mixed", gone.Digest)
	r := f.preload(0, image.PreloadOptions{}, "mixed:both")[0]
	if got := missing(r); len(got) != 1 || got[0] != gone.Digest {
		t.Errorf("missing is %v of %s", got, show(r))
	}
}
