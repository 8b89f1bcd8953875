package fleet

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// errOffline is why an upstream has not answered that is not asked.
var errOffline = errors.New("the upstream is configured offline")

// offline is the Remote of an upstream that is not asked: it has nothing.
type offline struct{}

func absent(code oci.Code) error {
	return oci.UpstreamError(oci.ClassNotFound, code, "neither the cache nor the bucket of the fleet has it", errOffline)
}

// Resolve implements mirror.Remote.
func (offline) Resolve(context.Context, string, oci.Reference, func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	return oci.Descriptor{}, nil, absent(oci.CodeManifestUnknown)
}

// Manifest implements mirror.Remote.
func (offline) Manifest(context.Context, string, oci.Reference) (oci.Manifest, error) {
	return oci.Manifest{}, absent(oci.CodeManifestUnknown)
}

// HeadBlob implements mirror.Remote.
func (offline) HeadBlob(context.Context, string, digest.Digest) (int64, error) {
	return 0, absent(oci.CodeBlobUnknown)
}

// Blob implements mirror.Remote.
func (offline) Blob(context.Context, string, digest.Digest, int64, int64) (oci.BlobBody, error) {
	return oci.BlobBody{}, absent(oci.CodeBlobUnknown)
}

// Tags implements mirror.Remote.
func (offline) Tags(context.Context, string, oci.TagsCursor) (oci.TagsPart, error) {
	return oci.TagsPart{}, absent(oci.CodeNameUnknown)
}

// Referrers implements mirror.Remote.
func (offline) Referrers(context.Context, string, digest.Digest) ([]oci.Descriptor, error) {
	return nil, absent(oci.CodeManifestUnknown)
}
