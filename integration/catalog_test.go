//go:build integration

package integration

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// catalog is any number of images at one upstream, whose bytes depend on its
// seed only and are made when they are needed. It is safe for concurrent use.
type catalog struct {
	server   *registrytest.Server
	upstream string // its name in the Caddyfile
	seed     uint64
	// sizes returns the sizes of an image's layers; nil = three: up to 64 KiB,
	// up to 1 MiB, and up to 4 MiB.
	sizes func(*rand.Rand) []int
	// padding is how many bytes each manifest has more than it needs.
	padding int

	mu     sync.Mutex
	images map[int]sample
}

// sample is an image of a catalog, as a client asks for it: the tag, the
// manifest of its platform, config and layers.
type sample []object

// object is one thing to ask for.
type object struct {
	path    string // from /v2/ on
	digest  digest.Digest
	size    int64
	blob    bool
	content func() []byte
}

// image returns the n-th image, and puts it at the upstream if it is not there.
func (c *catalog) image(n int) sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	made, ok := c.images[n]
	if !ok {
		made = c.make(n)
		if c.images == nil {
			c.images = make(map[int]sample)
		}
		c.images[n] = made
	}
	return made
}

func (c *catalog) make(n int) (made sample) {
	repository := c.repository(n)
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","image":%d,"seed":%d}`, n, c.seed)
	manifest.Config = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: c.server.PutBlob(repository, config), Size: int64(len(config)),
	}
	made = append(made, c.object(repository, "blobs", manifest.Config.Digest.String(), config))
	random := rand.New(rand.NewPCG(c.seed, uint64(n)))
	sizes := []int{1 + random.IntN(64<<10), 1 + random.IntN(1<<20), 1 + random.IntN(4<<20)}
	if c.sizes != nil {
		sizes = c.sizes(random)
	}
	for _, size := range sizes {
		seed := random.Uint64()
		layer := ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: c.server.PutRandom(repository, seed, size), Size: int64(size),
		}
		manifest.Layers = append(manifest.Layers, layer)
		made = append(made, object{
			path: c.path(repository, "blobs", layer.Digest.String()), digest: layer.Digest, size: layer.Size, blob: true,
			content: func() []byte { return registrytest.Random(seed, size) },
		})
	}
	if c.padding > 0 {
		manifest.Annotations = map[string]string{"padding": hex.EncodeToString(registrytest.Random(random.Uint64(), c.padding/2))}
	}
	raw := mustMarshal(manifest)
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	index.Manifests = []ocispec.Descriptor{{
		MediaType: manifest.MediaType, Digest: c.server.PutManifest(repository, "", manifest.MediaType, raw),
		Size: int64(len(raw)), Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"},
	}}
	indexRaw := mustMarshal(index)
	c.server.PutManifest(repository, imageTag, index.MediaType, indexRaw)
	return append(sample{
		c.object(repository, "manifests", imageTag, indexRaw),
		c.object(repository, "manifests", index.Manifests[0].Digest.String(), raw),
	}, made...)
}

func (c *catalog) repository(n int) string { return fmt.Sprintf("catalog/%d", n) }

func (c *catalog) path(repository, kind, reference string) string {
	return "/v2/proxy-" + c.upstream + "/" + repository + "/" + kind + "/" + reference
}

func (c *catalog) object(repository, kind, reference string, raw []byte) object {
	return object{
		path: c.path(repository, kind, reference), digest: digest.FromBytes(raw), size: int64(len(raw)),
		blob: kind == "blobs", content: func() []byte { return raw },
	}
}

// caddyfile returns the lines of its upstream.
func (c *catalog) caddyfile(lines string) string {
	return fmt.Sprintf("upstream %s {\n\t\t\turl %s\n\t\t\t%s\n\t\t}", c.upstream, c.server.URL(), lines)
}

func mustMarshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// long reports whether the long versions of the tests are wanted, which take
// from minutes to an hour.
func long() bool { return os.Getenv("PULLGATE_LONG") != "" }
