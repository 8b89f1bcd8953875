package registrytest

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Visibility is who may see a repository.
type Visibility int

// The visibilities. A repository that was never put is missing.
const (
	Public  Visibility = iota // everybody
	Private                   // who has Username and Password
	Refused                   // it exists, and is shown to nobody that a test can be
)

// Content is what an upstream holds. All methods are safe for concurrent use.
type Content struct {
	mu           sync.Mutex
	repositories map[string]*repository
}

// PutBlob stores b and returns its sha256 digest.
func (c *Content) PutBlob(repository string, b []byte) digest.Digest {
	d := digest.FromBytes(b)
	c.PutBlobAs(repository, d, b)
	return d
}

// PutBlobAs stores b under a digest that need not be its own: a lying registry.
func (c *Content) PutBlobAs(repository string, d digest.Digest, b []byte) {
	c.repository(repository).putBlob(d, func() []byte { return b })
}

// PutRandom stores Random(seed, n) as a blob, made anew for each request: any
// number of them takes no memory.
func (c *Content) PutRandom(repository string, seed uint64, n int) digest.Digest {
	d := digest.FromBytes(Random(seed, n))
	c.repository(repository).putBlob(d, func() []byte { return Random(seed, n) })
	return d
}

// PutManifest stores a manifest, under a tag too unless that is empty.
func (c *Content) PutManifest(repository, tag, mediaType string, raw []byte) digest.Digest {
	d := digest.FromBytes(raw)
	r := c.repository(repository)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifests[d] = manifest{mediaType: mediaType, raw: raw}
	if tag != "" {
		r.tag(tag, d)
	}
	return d
}

// PutTag makes one more tag of a manifest that is there.
func (c *Content) PutTag(repository, tag string, d digest.Digest) {
	r := c.repository(repository)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tag(tag, d)
}

// DeleteTag forgets one tag.
func (c *Content) DeleteTag(repository, tag string) {
	r := c.repository(repository)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tags, tag)
	r.order = slices.DeleteFunc(r.order, func(other string) bool { return other == tag })
}

// DeleteBlob forgets one blob.
func (c *Content) DeleteBlob(repository string, d digest.Digest) {
	r := c.repository(repository)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.blobs, d)
}

// CopyRepository makes everything of one repository known under another name.
func (c *Content) CopyRepository(from, to string) {
	f, t := c.repository(from), c.repository(to)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tag := range f.order {
		t.tag(tag, f.tags[tag])
	}
	maps.Copy(t.manifests, f.manifests)
	maps.Copy(t.blobs, f.blobs)
}

// SetVisibility says who may see a repository; Public is the default.
func (c *Content) SetVisibility(repository string, v Visibility) {
	r := c.repository(repository)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visibility = v
}

// Forget forgets what was given out, so that a profile is as it was before anybody
// asked.
func (c *Content) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.repositories {
		clear(r.given)
		clear(r.named)
	}
}

// repository returns the named one, made on first use.
func (c *Content) repository(name string) *repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.repositories[name]
	if r == nil {
		r = &repository{
			mu:   &c.mu,
			tags: map[string]digest.Digest{}, manifests: map[digest.Digest]manifest{}, blobs: map[digest.Digest]func() []byte{},
			given: map[digest.Digest]bool{}, named: map[digest.Digest]bool{},
		}
		c.repositories[name] = r
	}
	return r
}

// find returns the named repository; nil = there is none.
func (c *Content) find(name string) *repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.repositories[name]
}

// isGroup reports whether a repository has the first component of a name, too.
func (c *Content) isGroup(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.repositories {
		if before(other) == before(name) {
			return true
		}
	}
	return false
}

// repository is safe for concurrent use. nil is one that is not there.
type repository struct {
	mu         *sync.Mutex // that of the Content
	visibility Visibility
	tags       map[string]digest.Digest
	order      []string // of the tags, as they came
	manifests  map[digest.Digest]manifest
	blobs      map[digest.Digest]func() []byte
	// given is what clients got, named what the manifests among that name.
	given, named map[digest.Digest]bool
}

type manifest struct {
	mediaType string
	raw       []byte
}

// tag sets a tag; r.mu is held.
func (r *repository) tag(tag string, d digest.Digest) {
	if _, known := r.tags[tag]; !known {
		r.order = append(r.order, tag)
	}
	r.tags[tag] = d
}

func (r *repository) putBlob(d digest.Digest, content func() []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[d] = content
}

// resolve returns the manifest of a tag or a digest.
func (r *repository) resolve(reference string) (digest.Digest, manifest, bool) {
	if r == nil {
		return "", manifest{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.tags[reference]
	if !ok {
		d = digest.Digest(reference)
	}
	m, ok := r.manifests[d]
	return d, m, ok
}

// blob returns what makes the content of a blob; nil = there is none.
func (r *repository) blob(d digest.Digest) func() []byte {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[d]
}

// names returns the tags, as they came.
func (r *repository) names() []string {
	return locked(r, func() []string { return slices.Clone(r.order) })
}

func (r *repository) seenBy() Visibility {
	return locked(r, func() Visibility { return r.visibility })
}

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// give notes that something was given out, and what it names if it is a manifest.
func (r *repository) give(d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given[d] = true
	for _, named := range anyDigest.FindAll(r.manifests[d].raw, -1) {
		r.named[digest.Digest(named)] = true
	}
}

func (r *repository) wasGiven(d digest.Digest) bool {
	return r != nil && locked(r, func() bool { return r.given[d] })
}

func (r *repository) wasNamed(d digest.Digest) bool {
	return r != nil && locked(r, func() bool { return r.named[d] })
}

func locked[T any](r *repository, f func() T) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// referrers returns the index of the manifests that refer to a digest.
func (r *repository) referrers(subject digest.Digest) ocispec.Index {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, m := range r.manifests {
		var doc ocispec.Manifest
		if json.Unmarshal(m.raw, &doc) == nil && doc.Subject != nil && doc.Subject.Digest == subject {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: m.mediaType, Digest: d, Size: int64(len(m.raw)),
				ArtifactType: cmp.Or(doc.ArtifactType, doc.Config.MediaType), Annotations: doc.Annotations,
			})
		}
	}
	return index
}
