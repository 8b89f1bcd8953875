package registry

import (
	"context"

	"github.com/pullgate/pullgate/internal/oci"
)

// Mirror answers parsed requests. The wire asks, the mirror decides what is
// answered from where.
//
// Every method checks access before it looks at anything, returns a CacheStatus
// also beside an error, and returns errors that are, or wrap, an *oci.Error
// where it knows the answer for the client. All are safe for concurrent use and
// return soon after ctx is done, without disturbing others who wait for the
// same thing.
type Mirror interface {
	// StatManifest returns type, digest and exact size of a manifest.
	StatManifest(ctx context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error)
	// Manifest returns a manifest, its bytes verified.
	Manifest(ctx context.Context, r oci.Request) (oci.Manifest, oci.CacheStatus, error)
	// StatBlob returns digest and size of a blob without downloading it.
	StatBlob(ctx context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error)
	// Blob opens a blob; see oci.Blob. ctx bounds the reads of its Content too.
	Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error)
	// Tags returns one page of the repository's tags.
	Tags(ctx context.Context, r oci.Request, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error)
	// Referrers returns the descriptors of all manifests that refer to a
	// digest, unfiltered; none is no error.
	Referrers(ctx context.Context, r oci.Request) ([]oci.Descriptor, oci.CacheStatus, error)
}
