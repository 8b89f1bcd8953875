package image

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// Kind is what a part of an image is.
type Kind string

// The kinds.
const (
	KindIndex       Kind = "index"       // names manifests of platforms
	KindManifest    Kind = "manifest"    // is the image for one platform, or something else in one piece
	KindAttestation Kind = "attestation" // tells how a manifest was built
	KindReferrer    Kind = "referrer"    // refers to a manifest: a signature, an SBOM
	KindReferrers   Kind = "referrers"   // is a list of these
	KindPlatform    Kind = "platform"    // was chosen, and the image has none for it
)

// Part is one manifest of an image, and the blobs that it points to.
type Part struct {
	Kind Kind
	// Manifest is its descriptor. The digest is empty if not even that could be
	// found out.
	Manifest oci.Descriptor
	// Platform is that of a manifest, as far as it is known ("linux/amd64").
	Platform string
	// Others are the platforms that the image has instead, of a KindPlatform.
	Others []string
	// Blobs are the config and the layers, or those that an index lists.
	Blobs []oci.Descriptor
	// Err says why the manifest could not be read; the rest of what it leads to is
	// not known then.
	Err error
}

// configTypes are those of configs that tell a platform.
var configTypes = map[string]bool{
	ocispec.MediaTypeImageConfig:                     true,
	"application/vnd.docker.container.image.v1+json": true,
}

// Foreign reports whether a blob is one that registries need not have.
func Foreign(d oci.Descriptor) bool {
	return strings.Contains(d.MediaType, ".foreign.") || strings.Contains(d.MediaType, ".nondistributable.")
}

// attestation reports whether a descriptor of an index is that of one, which
// BuildKit lists among the platforms.
func attestation(d oci.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}
