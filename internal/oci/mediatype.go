package oci

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"

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
	mediaTypeJSON, mediaTypePlain = "application/json", "text/plain"
)

// IsManifestType reports whether a descriptor of an index with this media type is that
// of a manifest: of a known type, of none, or of one that calls itself a manifest.
func IsManifestType(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	switch mediaType {
	case "", ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest:
		return true
	}
	name, format, _ := strings.Cut(mediaType, "+")
	return (format == "json" || format == "prettyjws") && slices.Contains(strings.Split(name, "."), "manifest")
}

func (doc *document) mediaType(contentType string) (string, error) {
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case "", mediaTypeJSON, mediaTypePlain, MediaTypeOctetStream:
	default:
		if doc.MediaType == "" {
			return checkMediaType(mediaType)
		}
		// mime has lowered the case of the one; types are equal in any.
		if !strings.EqualFold(doc.MediaType, mediaType) {
			return "", fmt.Errorf("manifest of type %q came as %q", Clip(doc.MediaType), Clip(mediaType))
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
		return "", fmt.Errorf("manifest of type %q", Clip(t))
	}
	for i := range len(subtype) {
		c := subtype[i]
		letter := isAlnum(c) || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("!#$&-^_.+", rune(c))) {
			return "", fmt.Errorf("manifest of type %q", Clip(t))
		}
	}
	return t, nil
}
