package pulls

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	maxContents = 128 // manifests that are remembered
	maxBlobs    = 256 // of a manifest, or of a pull, that are told apart
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

// contents remembers what manifests point to, so that a hit needs no second look into
// the store. Safe for concurrent use.
type contents struct {
	read func(context.Context, digest.Digest) (oci.Manifest, error)

	mu       sync.Mutex
	byDigest map[digest.Digest]*content
	order    []digest.Digest // the oldest first
}

// of returns what a manifest points to; nil = that cannot be found out.
func (c *contents) of(ctx context.Context, d digest.Digest) *content {
	c.mu.Lock()
	known := c.byDigest[d]
	c.mu.Unlock()
	if known != nil {
		return known
	}
	m, err := c.read(context.WithoutCancel(ctx), d) // the client may have all that it wants
	if err != nil || m.Read() != nil {
		return nil
	}
	known = newContent(*m.Contents)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byDigest[d] == nil {
		if len(c.order) == maxContents {
			delete(c.byDigest, c.order[0])
			c.order = append(c.order[:0], c.order[1:]...)
		}
		c.byDigest[d] = known
		c.order = append(c.order, d)
	}
	return known
}
