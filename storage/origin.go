package storage

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Origins say which upstreams have shown that they have some content: by delivering it,
// or by a proof that they possess it.
type Origins struct {
	// Own says that the upstream that is asked about has.
	Own bool
	// Open says that one has whose content others may prove to have.
	Open bool
}

// Origins returns who has shown to have some content, as seen from the upstream of a
// scope. Of a blob that was brought in before that was recorded, it is the upstream that
// did so.
func (r *Records) Origins(ctx context.Context, scope oci.Scope, d digest.Digest) (o Origins, err error) {
	i, err := volume.IDOf(d)
	if err == nil {
		err = r.life.Within(ctx, func() error {
			own := string(index.OriginKey(i, scope.Upstream))
			err := r.index.View(func(txn *index.Txn) error {
				return txn.Each(ctx, index.TableKey(index.TableOrigin, i), func(key, value []byte) error {
					shown, ok := index.DecodeOrigin(value)
					o.Own = o.Own || ok && string(key) == own
					o.Open = o.Open || ok && shown.Open
					return nil
				})
			})
			if err == nil && !o.Own {
				blob, known := r.index.Blob(i)
				o.Own = known && blob.Origin == scope.Upstream
			}
			return err
		})
	}
	if err != nil {
		return Origins{}, fmt.Errorf("get origins of %s: %w", d, err)
	}
	return o, nil
}
