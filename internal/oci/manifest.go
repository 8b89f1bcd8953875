package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of manifests that the image spec's package does not name.
const (
	MediaTypeDockerManifest       = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList   = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerSchema1        = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSchema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	MediaTypeOCIArtifactManifest  = "application/vnd.oci.artifact.manifest.v1+json"
	MediaTypeOctetStream          = "application/octet-stream"
	maxManifestDescriptors        = 16 << 10
	mediaTypeJSON, mediaTypePlain = "application/json", "text/plain"
)

// MaxManifestSize is the greatest manifest in bytes: what registries have to
// accept (distribution-spec, "Pushing Manifests") and clients still read.
const MaxManifestSize = 4 << 20

// Manifest is a manifest or an index, byte for byte as the upstream sent it.
type Manifest struct {
	MediaType string
	Digest    digest.Digest
	Bytes     []byte
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
	Layers       list[Descriptor]  `json:"layers"`
	Blobs        list[Descriptor]  `json:"blobs"`     // OCI artifact manifest
	Manifests    list[Descriptor]  `json:"manifests"` // index
	FSLayers     list[fsLayer]     `json:"fsLayers"`  // Docker schema 1
	Subject      *Descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

type fsLayer struct {
	BlobSum digest.Digest `json:"blobSum"`
}

// list is a JSON array that stops at maxManifestDescriptors while it is read:
// 4 MiB of "{}," would otherwise become 160 MiB of descriptors. Images of ten
// thousand layers are below that.
type list[T any] []T

// UnmarshalJSON reads an array, or null as no array.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*l = nil
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return errors.New("want an array")
	}
	*l = list[T]{}
	for dec.More() {
		if len(*l) == maxManifestDescriptors {
			return fmt.Errorf("manifest has more than %d descriptors in a list", maxManifestDescriptors)
		}
		var v T
		if err := dec.Decode(&v); err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}

// errAmbiguous is CVE-2021-41190: one document that is an index to some readers
// and an image to others.
var errAmbiguous = errors.New("manifest is an index and an image at once")

// ParseManifest reads what a manifest points to. Descriptors with a digest that
// ParseDigest refuses are left out: they cannot be asked for either. It fails on
// what is no JSON object, on ambiguous documents, and on more than 16,384
// descriptors.
func ParseManifest(raw []byte) (Contents, error) {
	doc, err := decode(raw)
	if err != nil {
		return Contents{}, err
	}
	if n := len(doc.Layers) + len(doc.Blobs) + len(doc.Manifests) + len(doc.FSLayers); n > maxManifestDescriptors {
		return Contents{}, fmt.Errorf("manifest has %d descriptors, more than %d", n, maxManifestDescriptors)
	}
	c := Contents{ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if doc.Subject != nil && validDescriptor(*doc.Subject) {
		c.Subject = doc.Subject
	}
	c.Manifests = appendValid(c.Manifests, doc.Manifests...)
	if doc.Config != nil {
		if c.Blobs = appendValid(c.Blobs, *doc.Config); len(c.Blobs) > 0 {
			c.Config = doc.Config.Digest
		}
		if c.ArtifactType == "" {
			c.ArtifactType = doc.Config.MediaType
		}
	}
	c.Blobs = appendValid(c.Blobs, doc.Layers...)
	c.Blobs = appendValid(c.Blobs, doc.Blobs...)
	for _, l := range doc.FSLayers {
		c.Blobs = appendValid(c.Blobs, Descriptor{Digest: l.BlobSum, Size: -1})
	}
	return c, nil
}

func decode(raw []byte) (document, error) {
	var doc document
	if t := bytes.TrimLeft(raw, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return doc, errors.New("manifest is no JSON object")
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return doc, fmt.Errorf("decode manifest: %w", err)
	}
	if doc.Manifests != nil && (doc.Layers != nil || doc.Config != nil || doc.FSLayers != nil) {
		return doc, errAmbiguous
	}
	return doc, nil
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

// ManifestMediaType returns the media type of a manifest that came with the
// given Content-Type: that type without parameters, or, where registries leave
// it out or send a generic one, the document's own mediaType or what its fields
// tell. It fails if the two contradict each other, if nothing tells the type, or
// if it is none of application/….
func ManifestMediaType(contentType string, raw []byte) (string, error) {
	doc, err := decode(raw)
	if err != nil {
		return "", err
	}
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case "", mediaTypeJSON, mediaTypePlain, MediaTypeOctetStream:
	default:
		if doc.MediaType == "" {
			return checkMediaType(mediaType)
		}
		// mime has lowered the case of the one; types are equal in any.
		if !strings.EqualFold(doc.MediaType, mediaType) {
			return "", fmt.Errorf("manifest of type %q came as %q", clip(doc.MediaType), clip(mediaType))
		}
		return checkMediaType(doc.MediaType)
	}
	switch {
	case doc.MediaType != "":
		return checkMediaType(doc.MediaType)
	case doc.Manifests != nil:
		return ocispec.MediaTypeImageIndex, nil
	case doc.Config != nil || doc.Layers != nil:
		return ocispec.MediaTypeImageManifest, nil
	case doc.FSLayers != nil:
		return MediaTypeDockerSchema1Signed, nil
	}
	return "", errors.New("manifest tells no media type")
}

// checkMediaType returns t if it is an application type in the grammar of RFC
// 6838, section 4.2. The type goes out as Content-Type: it must hold neither
// parameters, which crane compares too, nor text/html, which browsers run.
func checkMediaType(t string) (string, error) {
	subtype, ok := strings.CutPrefix(t, "application/")
	if !ok || subtype == "" || len(subtype) > 127 {
		return "", fmt.Errorf("manifest of type %q", clip(t))
	}
	for i := range len(subtype) {
		c := subtype[i]
		letter := isAlnum(c) || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("!#$&-^_.+", rune(c))) {
			return "", fmt.Errorf("manifest of type %q", clip(t))
		}
	}
	return t, nil
}
