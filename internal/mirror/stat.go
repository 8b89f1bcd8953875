package mirror

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

// stat returns the size of the blob, and its type if it is a manifest, without
// downloading it if anything else tells.
func (q *blobQuery) stat(ctx context.Context) (oci.Descriptor, oci.CacheStatus, error) {
	if err := (prover{q.view, q.digest}).renew(ctx, &q.link, prover.askBlob); err != nil {
		return oci.Descriptor{}, failed(true, err), err
	}
	if q.link.Proven {
		size, err := q.store.BlobSize(ctx, q.digest)
		if err == nil {
			err = q.agree(ctx, size)
		}
		switch {
		case err == nil:
			return q.describe(ctx, size), oci.CacheStatus{Result: oci.ResultHit}, nil
		case oci.ClassOf(err) != oci.ClassNone:
			return oci.Descriptor{}, failed(true, err), err
		}
	}
	if f := q.fills.get(q.fillKey(q.digest)); f != nil && (q.link.Proven || f.serves(q.scope)) {
		if size := f.CertainSize(); size >= 0 {
			return oci.Descriptor{Digest: q.digest, Size: size}, oci.CacheStatus{Result: oci.ResultJoined}, nil
		}
	}
	if q.alone {
		status, err := q.unknown(oci.CodeBlobUnknown)
		return oci.Descriptor{}, status, err
	}
	a, err := prover{q.view, q.digest}.head(ctx, q.link.Size)
	switch {
	case err != nil:
		return oci.Descriptor{}, a.status(err), fmt.Errorf("head blob %s@%s: %w", q.scope, q.digest, err)
	case a.value.Size >= 0:
		return q.describe(ctx, a.value.Size), a.status(nil), nil
	}
	b, status, err := q.view.blob(ctx, q.digest) // only a GET tells
	if err == nil {
		err = b.Content.Close()
	}
	return q.describe(ctx, b.Size), status, err
}

// describe returns the descriptor of the blob. Its type is known if it is a manifest.
func (q *blobQuery) describe(ctx context.Context, size int64) oci.Descriptor {
	mf, _ := q.local(ctx, q.digest)
	return oci.Descriptor{Digest: q.digest, Size: size, MediaType: mf.MediaType}
}
