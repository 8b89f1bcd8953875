package mirror

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
)

// Pull brings a blob into the store, and returns its descriptor once it lies there.
// None of its bytes pass through the caller. It joins a running fill, and a fill
// goes on when ctx ends. An error is also that the store does not take the blob.
// progress, unless nil, is told how many bytes are there, and how many there will
// be, -1 = unknown; Pull waits for it.
func (m *Mirror) Pull(ctx context.Context, r oci.Request, progress func(covered, size int64)) (oci.Descriptor, oci.CacheStatus, error) {
	v, err := m.admit(r)
	if err != nil {
		return oci.Descriptor{}, oci.CacheStatus{}, err
	}
	spanned, span := startSpan(ctx, "mirror.blob", v, r.Reference.String())
	d, status, err := v.pull(spanned, r.Reference.Digest, progress)
	err = m.answered(spanned, span, v, r, status, err)
	return d, status, err
}

func (v view) pull(ctx context.Context, d digest.Digest, progress func(covered, size int64)) (oci.Descriptor, oci.CacheStatus, error) {
	b, status, err := v.blob(ctx, d)
	if err != nil {
		return oci.Descriptor{}, status, err
	}
	defer b.Content.Close()
	desc := oci.Descriptor{Digest: d, Size: b.Size}
	r, filling := b.Content.(*fill.Reader)
	if !filling {
		return desc, status, nil
	}
	if desc.Size, err = r.AwaitStored(ctx, progress); err != nil {
		return oci.Descriptor{}, failed(status.Result == oci.ResultMiss, err), fmt.Errorf("pull blob %s@%s: %w", v.scope, d, err)
	}
	return desc, status, nil
}
