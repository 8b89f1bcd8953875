package mirror

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Remote is one upstream registry, as the policy needs it; upstream.Client is
// the real one.
//
// Repository names are the upstream's own. Errors are, or wrap, an *oci.Error
// with a Class; one of ClassNotFound means that the upstream itself said so.
// All methods are safe for concurrent use.
type Remote interface {
	// Resolve finds out type, digest and size of a manifest. Where only the bytes tell
	// them for certain, the manifest is returned, too; else it is nil. held, unless nil,
	// reports that the manifest with a digest is here, so that no bytes are needed.
	Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error)
	// Manifest gets a manifest of at most oci.MaxManifestSize. Its digest is
	// computed from the bytes and equals that of ref.
	Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error)
	// HeadBlob proves that the repository has a blob, and returns its size; -1
	// if the upstream does not tell.
	HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error)
	// Blob gets the bytes [offset, offset+length) of a blob, to the end if
	// length is negative. The body is not verified. It ends in
	// io.ErrUnexpectedEOF when it was cut, and in an *oci.Error of ClassTimeout
	// when no byte came for too long; then the caller may ask again from where
	// it got to.
	Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error)
	// Tags gets one page of the tag list: the first one, or that which the page before
	// it leads to. Every tag is valid.
	Tags(ctx context.Context, repository string, at oci.TagsCursor) (oci.TagsPart, error)
	// Referrers gets all referrers of d, or fails: from the referrers API, its pages
	// followed, or from the referrers tag where the registry has no such API.
	Referrers(ctx context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error)
}
