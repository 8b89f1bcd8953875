//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// carried is an image that is carried over an air gap.
type carried struct {
	repository string // with its upstream: docker.io/library/app-0
	tag        string
	docker     bool // in Docker's formats, not those of OCI
	digest     digest.Digest
	layer      digest.Digest // one that no other image has
	blobs      map[digest.Digest]bool
	manifests  int
}

func (c *carried) reference() string { return c.repository + ":" + c.tag }

// path is where the image lies at an upstream, and below the gateway's prefix.
func (c *carried) path() string {
	_, path, _ := strings.Cut(c.repository, "/")
	return path
}

// carriedUpstreams are the registries that the images are from.
var carriedUpstreams = []string{"docker.io", "ghcr.io", "registry.k8s.io", "quay.io"}

// pushCarried fills a registry with images: every second one for two platforms,
// every third one in Docker's formats, each with a layer that others have, too.
func pushCarried(t *testing.T, host string, count int) (images []*carried) {
	t.Helper()
	for n := range count {
		upstream := carriedUpstreams[n%len(carriedUpstreams)]
		c := &carried{repository: fmt.Sprintf("%s/team/app-%d", upstream, n), tag: fmt.Sprintf("1.%d", n), docker: n%3 == 0, blobs: map[digest.Digest]bool{}}
		if upstream == "docker.io" {
			c.repository = fmt.Sprintf("docker.io/library/app-%d", n)
		}
		c.push(t, host, uint64(100*n), architectures[:1+n%2])
		images = append(images, c)
	}
	return images
}

// push makes the image, of random bytes, and puts it at a registry.
func (c *carried) push(t *testing.T, host string, seed uint64, platforms []string) {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	kind := types.OCILayer
	if c.docker {
		index.MediaType, kind = string(types.DockerManifestList), types.DockerLayer
	}
	repository, err := name.NewRepository(host+"/"+c.path(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	c.manifests = len(platforms)
	for p, architecture := range platforms {
		own := seed + uint64(p) + 1
		image := c.image(t, architecture, layerOf(t, 0, 64<<10, kind), layerOf(t, own, 1000+int(own), kind))
		raw, err := image.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		mediaType, err := image.MediaType()
		if err != nil {
			t.Fatal(err)
		}
		c.digest = digest.FromBytes(raw)
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: string(mediaType), Digest: c.digest, Size: int64(len(raw)),
			Platform: &ocispec.Platform{OS: "linux", Architecture: architecture},
		})
		if err := remote.Write(repository.Tag(c.tag), image); err != nil {
			t.Fatal(err)
		}
	}
	if len(platforms) > 1 {
		list := pushedIndex{marshal(t, index), types.MediaType(index.MediaType)}
		if err := remote.Put(repository.Tag(c.tag), list); err != nil {
			t.Fatal(err)
		}
		c.digest = digest.FromBytes(list.raw)
		c.manifests++
	}
}

// pushedIndex is a remote.Taggable.
type pushedIndex struct {
	raw       []byte
	mediaType types.MediaType
}

func (i pushedIndex) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i pushedIndex) MediaType() (types.MediaType, error) { return i.mediaType, nil }

// image makes the image of one platform.
func (c *carried) image(t *testing.T, architecture string, layers ...v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: architecture, Author: c.repository, RootFS: v1.RootFS{Type: "layers"},
	})
	if err == nil {
		image, err = mutate.AppendLayers(image, layers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !c.docker {
		image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		c.blobs[digest.Digest(d.Digest.String())] = true
	}
	c.layer = digest.Digest(manifest.Layers[len(manifest.Layers)-1].Digest.String())
	return image
}

// layerOf makes a layer of one file of random bytes.
func layerOf(t *testing.T, seed uint64, size int, kind types.MediaType) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", seed), Mode: 0o644, Size: int64(size)})
	if err == nil {
		_, err = w.Write(registrytest.Random(seed, size))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	content := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(content, tarball.WithMediaType(kind))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}
