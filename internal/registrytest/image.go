package registrytest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what PutImage made: an index over one manifest per platform.
type Image struct {
	Repository, Tag string
	Index           ocispec.Descriptor
	IndexBytes      []byte
	Platforms       []PlatformImage
}

// PlatformImage is the image of one platform.
type PlatformImage struct {
	Manifest      ocispec.Descriptor
	ManifestBytes []byte
	Config        ocispec.Descriptor
	Layers        []ocispec.Descriptor
}

// Random returns n bytes that depend on the seed only.
func Random(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(key[8:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(b, b) // faster than any source of math/rand
	return b
}

// PutImage makes an OCI index of the platforms linux/amd64 and linux/arm64,
// with layers of the given sizes (random bytes that depend on the seed), and
// tags it.
func (c *Content) PutImage(repository, tag string, seed uint64, layerSizes ...int) Image {
	image := Image{Repository: repository, Tag: tag}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for p, architecture := range []string{"amd64", "arm64"} {
		layers := make([][]byte, len(layerSizes))
		for i, size := range layerSizes {
			layers[i] = Random(seed<<16+uint64(p<<8+i), size)
		}
		platform := c.putPlatform(repository, architecture, layers)
		platform.Manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, platform.Manifest)
		image.Platforms = append(image.Platforms, platform)
	}
	image.IndexBytes = mustJSON(index)
	image.Index = ocispec.Descriptor{MediaType: index.MediaType, Size: int64(len(image.IndexBytes))}
	image.Index.Digest = c.PutManifest(repository, tag, index.MediaType, image.IndexBytes)
	return image
}

func (c *Content) putPlatform(repository, architecture string, layers [][]byte) PlatformImage {
	var p PlatformImage
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: architecture}}
	config.RootFS.Type = "layers"
	for _, layer := range layers {
		d := c.PutBlob(repository, layer)
		p.Layers = append(p.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(layer)),
		})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
	}
	raw := mustJSON(config)
	p.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: c.PutBlob(repository, raw), Size: int64(len(raw))}
	p.ManifestBytes = mustJSON(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: p.Config, Layers: p.Layers,
	})
	p.Manifest = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Size: int64(len(p.ManifestBytes))}
	p.Manifest.Digest = c.PutManifest(repository, "", ocispec.MediaTypeImageManifest, p.ManifestBytes)
	return p
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("registrytest: marshal %T: %v", v, err))
	}
	return raw
}
