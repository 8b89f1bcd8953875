package registrytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/opencontainers/go-digest"
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
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// PutBlob stores b and returns its sha256 digest.
func (s *Server) PutBlob(repository string, b []byte) digest.Digest {
	d := digest.FromBytes(b)
	s.PutBlobAs(repository, d, b)
	return d
}

// PutBlobAs stores b under a digest that need not be its own: a lying registry.
func (s *Server) PutBlobAs(repository string, d digest.Digest, b []byte) {
	s.putBlob(repository, d, func() []byte { return b })
}

// PutRandom stores Random(seed, n) as a blob, made anew for each request: any
// number of them takes no memory.
func (s *Server) PutRandom(repository string, seed uint64, n int) digest.Digest {
	d := digest.FromBytes(Random(seed, n))
	s.putBlob(repository, d, func() []byte { return Random(seed, n) })
	return d
}

func (s *Server) putBlob(repository string, d digest.Digest, content func() []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repository(repository).blobs[d] = content
}

// PutManifest stores a manifest, under a tag too unless that is empty.
func (s *Server) PutManifest(repository, tag, mediaType string, raw []byte) digest.Digest {
	d := digest.FromBytes(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repository(repository)
	repo.manifests[d] = manifest{mediaType: mediaType, raw: raw}
	if tag != "" {
		repo.tag(tag, d)
	}
	return d
}

// PutTag makes one more tag of a manifest that is there.
func (s *Server) PutTag(repository, tag string, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repository(repository).tag(tag, d)
}

func (r *repository) tag(tag string, d digest.Digest) {
	if _, known := r.tags[tag]; !known {
		r.order = append(r.order, tag)
	}
	r.tags[tag] = d
}

// DeleteTag and DeleteBlob forget one tag, one blob.
func (s *Server) DeleteTag(repository, tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repository(repository)
	delete(repo.tags, tag)
	repo.order = slices.DeleteFunc(repo.order, func(other string) bool { return other == tag })
}

// DeleteBlob forgets one blob.
func (s *Server) DeleteBlob(repository string, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repository(repository).blobs, d)
}

// CopyRepository makes everything of one repository known under another name.
func (s *Server) CopyRepository(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, t := s.repository(from), s.repository(to)
	for _, tag := range f.order {
		t.tag(tag, f.tags[tag])
	}
	maps.Copy(t.manifests, f.manifests)
	maps.Copy(t.blobs, f.blobs)
}

// repository returns the named one, made on first use; s.mu is held.
func (s *Server) repository(name string) *repository {
	repo := s.repos[name]
	if repo == nil {
		repo = &repository{
			tags: map[string]digest.Digest{}, manifests: map[digest.Digest]manifest{}, blobs: map[digest.Digest]func() []byte{},
			given: map[digest.Digest]bool{}, named: map[digest.Digest]bool{},
		}
		s.repos[name] = repo
	}
	return repo
}

// PutImage makes an OCI index of the platforms linux/amd64 and linux/arm64,
// with layers of the given sizes (random bytes that depend on the seed), and
// tags it.
func (s *Server) PutImage(repository, tag string, seed uint64, layerSizes ...int) Image {
	image := Image{Repository: repository, Tag: tag}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for p, architecture := range []string{"amd64", "arm64"} {
		layers := make([][]byte, len(layerSizes))
		for i, size := range layerSizes {
			layers[i] = Random(seed<<16+uint64(p<<8+i), size)
		}
		platform := s.putPlatform(repository, architecture, layers)
		platform.Manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, platform.Manifest)
		image.Platforms = append(image.Platforms, platform)
	}
	image.IndexBytes = mustJSON(index)
	image.Index = ocispec.Descriptor{MediaType: index.MediaType, Size: int64(len(image.IndexBytes))}
	image.Index.Digest = s.PutManifest(repository, tag, index.MediaType, image.IndexBytes)
	return image
}

func (s *Server) putPlatform(repository, architecture string, layers [][]byte) PlatformImage {
	var p PlatformImage
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: architecture}}
	config.RootFS.Type = "layers"
	for _, layer := range layers {
		d := s.PutBlob(repository, layer)
		p.Layers = append(p.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(layer)),
		})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
	}
	raw := mustJSON(config)
	p.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: s.PutBlob(repository, raw), Size: int64(len(raw))}
	p.ManifestBytes = mustJSON(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: p.Config, Layers: p.Layers,
	})
	p.Manifest = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Size: int64(len(p.ManifestBytes))}
	p.Manifest.Digest = s.PutManifest(repository, "", ocispec.MediaTypeImageManifest, p.ManifestBytes)
	return p
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("registrytest: marshal %T: %v", v, err))
	}
	return raw
}

// DeleteRepository forgets a repository and all that is in it.
func (s *Server) DeleteRepository(repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repos, repository)
}
