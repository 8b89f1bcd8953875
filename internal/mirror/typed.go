package mirror

import (
	"bytes"
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// content opens a blob, or a manifest that is asked for as one.
func (v view) content(ctx context.Context, d digest.Digest) (oci.Blob, oci.CacheStatus, error) {
	if b, ok := v.typed(d); ok {
		return b, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	return v.blob(ctx, d)
}

// statContent is content for a HEAD.
func (v view) statContent(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	if b, ok := v.typed(d); ok {
		return oci.Descriptor{MediaType: b.MediaType, Digest: d, Size: b.Size}, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	return v.statBlob(ctx, d)
}

// typed returns a manifest for who asks for it as a blob: with its type, so that
// nobody takes it for something else. It is one of the scope's that is stored; of
// another digest, only the upstream knows whether it has a blob of it.
func (v view) typed(d digest.Digest) (oci.Blob, bool) {
	// Most blobs are larger, and not looked for among the manifests.
	if v.linked(v.scope, d).Size > oci.MaxManifestSize {
		return oci.Blob{}, false
	}
	mf, ok := v.local(d)
	if !ok {
		return oci.Blob{}, false
	}
	return oci.Blob{
		Digest: d, MediaType: mf.MediaType, Size: int64(len(mf.Bytes)), Content: inMemory{bytes.NewReader(mf.Bytes)},
	}, true
}

// inMemory is content that needs no closing.
type inMemory struct{ *bytes.Reader }

// Close implements io.Closer.
func (inMemory) Close() error { return nil }
