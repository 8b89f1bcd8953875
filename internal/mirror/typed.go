package mirror

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// content opens a blob. Some upstreams have their manifests among the blobs, too: one
// that is known to be a manifest comes with its type, so that nobody takes it for
// something else.
func (v view) content(ctx context.Context, d digest.Digest) (oci.Blob, oci.CacheStatus, error) {
	b, status, err := v.blob(ctx, d)
	if err == nil {
		b.MediaType = v.manifestType(d, b.Size)
	}
	return b, status, err
}

// statContent is content for a HEAD.
func (v view) statContent(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	desc, status, err := v.statBlob(ctx, d)
	if err == nil {
		desc.MediaType = v.manifestType(d, desc.Size)
	}
	return desc, status, err
}

// manifestType returns the type of a manifest that is stored and the scope's; empty =
// there is none.
func (v view) manifestType(d digest.Digest, size int64) string {
	if size > oci.MaxManifestSize { // as most blobs are
		return ""
	}
	mf, _ := v.local(d)
	return mf.MediaType
}
