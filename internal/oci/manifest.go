package oci

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// MaxManifestSize is the greatest manifest in bytes: what registries have to
// accept (distribution-spec, "Pushing Manifests") and clients still read.
const MaxManifestSize = 4 << 20

// maxAnnotationBytes is how many those of one descriptor, or of the manifest, may
// have. Signatures and build tools write some kilobytes.
const maxAnnotationBytes = 1 << 20

// Manifest is a manifest or an index, byte for byte as the upstream sent it.
type Manifest struct {
	MediaType string
	Digest    digest.Digest
	Bytes     []byte
	// Contents is what Bytes point to, if somebody has just read them; nil = read
	// them. They take more memory than Bytes, so nobody keeps them.
	Contents *Contents
	// Shared is as in BlobBody. It is not kept.
	Shared string
	// Room is what a large one has until it is stored; nil = none.
	Room *Room
}

// Descriptor returns type, digest and size of the manifest.
func (m Manifest) Descriptor() Descriptor {
	return Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Bytes))}
}

// Contents is what a manifest points to.
type Contents struct {
	// Manifests are the children of an index.
	Manifests []Descriptor
	// Blobs are the config and the layers of an image.
	Blobs []Descriptor
	// Config is the digest of the first of them if that is the config.
	Config digest.Digest
	// Subject is the manifest that this one refers to; nil = none.
	Subject *Descriptor
	// ArtifactType is the manifest's own, or the media type of its config.
	ArtifactType string
	Annotations  map[string]string
}

// document is the union of all manifest formats.
type document struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *Descriptor       `json:"config"`
	Layers       List[Descriptor]  `json:"layers"`
	Blobs        List[Descriptor]  `json:"blobs"`     // OCI artifact manifest
	Manifests    List[Descriptor]  `json:"manifests"` // index
	FSLayers     List[fsLayer]     `json:"fsLayers"`  // Docker schema 1
	Subject      *Descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

type fsLayer struct {
	BlobSum digest.Digest `json:"blobSum"`
}

// errAmbiguous is CVE-2021-41190: one document that is an index to some readers
// and an image to others.
var errAmbiguous = errors.New("manifest is an index and an image at once")

// Read sets Contents, unless somebody has.
func (m *Manifest) Read() error {
	if m.Contents != nil {
		return nil
	}
	c, err := ParseManifest(m.Bytes)
	if err == nil {
		m.Contents = &c
	}
	return err
}

// ParseManifest reads what a manifest points to. Descriptors with a digest that
// ParseDigest refuses are left out: they cannot be asked for either. It fails on
// what is no JSON object, on ambiguous documents, on more than 16,384 descriptors,
// and on more annotations than anybody writes.
func ParseManifest(raw []byte) (Contents, error) {
	doc, err := decode(raw)
	if err != nil {
		return Contents{}, err
	}
	return doc.contents()
}

// DecodeManifest is ParseManifest, and returns also the media type of a manifest that
// came with the given Content-Type: that type without parameters, or, where registries
// leave it out or send a generic one, the document's own mediaType or what its fields
// tell. It fails if the two contradict each other, if nothing tells the type, or if it
// is not application/….
func DecodeManifest(contentType string, raw []byte) (mediaType string, c Contents, err error) {
	doc, err := decode(raw)
	if err != nil {
		return "", Contents{}, err
	}
	if mediaType, err = doc.mediaType(contentType); err != nil {
		return "", Contents{}, err
	}
	c, err = doc.contents()
	return mediaType, c, err
}

func (doc *document) contents() (Contents, error) {
	n := len(doc.Layers) + len(doc.Blobs) + len(doc.Manifests) + len(doc.FSLayers)
	if n > maxElements {
		return Contents{}, fmt.Errorf("manifest has %d descriptors, more than %d", n, maxElements)
	}
	c := Contents{ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if doc.Subject != nil && validDescriptor(*doc.Subject) {
		c.Subject = doc.Subject
	}
	// What is left out leaves its place to the rest.
	c.Manifests = appendValid(doc.Manifests[:0], doc.Manifests...)
	c.Blobs = appendValid(doc.Layers[:0], doc.Layers...)
	if doc.Config != nil {
		c.ArtifactType = cmp.Or(c.ArtifactType, doc.Config.MediaType)
		if validDescriptor(*doc.Config) {
			c.Blobs, c.Config = slices.Insert(c.Blobs, 0, *doc.Config), doc.Config.Digest
		}
	}
	c.Blobs = appendValid(c.Blobs, doc.Blobs...)
	for _, l := range doc.FSLayers {
		c.Blobs = appendValid(c.Blobs, Descriptor{Digest: l.BlobSum, Size: -1})
	}
	return c, nil
}

// Children tells what is below a manifest apart. The entries of an index need not
// all be manifests: the build cache that BuildKit writes as an index lists its layers
// there. Clients ask for what is of no manifest's type as a blob.
func (c Contents) Children() (manifests, blobs []Descriptor) {
	blobs = slices.Clip(c.Blobs)
	for _, d := range c.Manifests {
		if IsManifestType(d.MediaType) {
			manifests = append(manifests, d)
		} else {
			blobs = append(blobs, d)
		}
	}
	return manifests, blobs
}

func decode(raw []byte) (*document, error) {
	var doc document
	if t := bytes.TrimLeft(raw, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return nil, errors.New("manifest is no JSON object")
	}
	if err := Decode(raw, &doc); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if doc.Manifests != nil && (doc.Layers != nil || doc.Config != nil || doc.FSLayers != nil) {
		return nil, errAmbiguous
	}
	return &doc, doc.checkAnnotations()
}

// checkAnnotations refuses more of them than anybody writes: they are kept in many
// places.
func (doc *document) checkAnnotations() error {
	for _, list := range [][]Descriptor{
		{{Annotations: doc.Annotations}}, doc.Layers, doc.Blobs, doc.Manifests, one(doc.Config), one(doc.Subject),
	} {
		for _, d := range list {
			size := 0
			for name, value := range d.Annotations {
				size += len(name) + len(value)
			}
			if size > maxAnnotationBytes {
				return fmt.Errorf("manifest has %d bytes of annotations in one place, more than %d", size, maxAnnotationBytes)
			}
		}
	}
	return nil
}

func one(d *Descriptor) []Descriptor {
	if d == nil {
		return nil
	}
	return []Descriptor{*d}
}

func appendValid(to []Descriptor, ds ...Descriptor) []Descriptor {
	for _, d := range ds {
		if validDescriptor(d) {
			to = append(to, d)
		}
	}
	return to
}

func validDescriptor(d Descriptor) bool {
	_, err := ParseDigest(d.Digest.String())
	return err == nil && d.Size >= -1
}
