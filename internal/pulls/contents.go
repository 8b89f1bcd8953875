package pulls

import (
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	maxContents = 128     // manifests that are remembered
	maxRead     = 1 << 20 // bytes of one that nobody has read yet
	maxBlobs    = 256     // of a manifest, or of a pull, that are told apart
)

// content is what a manifest points to.
type content struct {
	blobs    []blob                   // the first maxBlobs
	whole    bool                     // they are all
	total    int64                    // the size of all; 0 = not known
	children map[digest.Digest]string // the platforms of an index, the first maxBlobs
}

type blob struct {
	digest digest.Digest
	size   int64 // -1 = not known
}

func newContent(c oci.Contents) *content {
	manifests, blobs := c.Children()
	read := &content{whole: len(blobs) <= maxBlobs && len(blobs) > 0}
	for i, b := range blobs {
		if i < maxBlobs {
			read.blobs = append(read.blobs, blob{b.Digest, b.Size})
		}
		read.total += max(b.Size, 0)
	}
	if len(manifests) > 0 {
		read.children = make(map[digest.Digest]string, min(len(manifests), maxBlobs))
	}
	for _, m := range manifests[:min(len(manifests), maxBlobs)] {
		read.children[m.Digest] = platformOf(m.Platform)
	}
	return read
}

// platformOf writes a platform as --platform of clients takes it; empty = it is none.
func platformOf(p *ocispec.Platform) string {
	if p == nil || p.OS == "" || p.OS == "unknown" {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// contents remembers what manifests point to, so that a hit is not read twice. Safe for
// concurrent use.
type contents struct {
	mu       sync.Mutex
	byDigest map[digest.Digest]*content
	order    []digest.Digest // the oldest first
}

// of returns what a manifest points to; nil = that cannot be told, or takes too long to
// find out.
func (c *contents) of(m oci.Manifest) *content {
	c.mu.Lock()
	known := c.byDigest[m.Digest]
	c.mu.Unlock()
	if known != nil {
		return known
	}
	if m.Contents == nil && len(m.Bytes) > maxRead || m.Read() != nil {
		return nil
	}
	known = newContent(*m.Contents)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byDigest[m.Digest] == nil {
		if len(c.order) == maxContents {
			delete(c.byDigest, c.order[0])
			c.order = append(c.order[:0], c.order[1:]...)
		}
		c.byDigest[m.Digest] = known
		c.order = append(c.order, m.Digest)
	}
	return known
}
