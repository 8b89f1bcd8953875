package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

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
func (s *Store) Origins(scope oci.Scope, d digest.Digest) (o Origins, err error) {
	i, err := volume.IDOf(d)
	if err == nil {
		err = s.enter()
	}
	if err != nil {
		return o, fmt.Errorf("get origins of %s: %w", d, err)
	}
	defer s.leave()
	txn, err := s.index.Begin()
	if err != nil {
		return o, fmt.Errorf("get origins of %s: %w", d, err)
	}
	defer txn.Discard()
	own := string(index.OriginKey(i, scope.Upstream))
	err = txn.Each(context.Background(), index.TableKey(index.TableOrigin, i), func(key, value []byte) error {
		r, ok := index.DecodeOrigin(value)
		o.Own = o.Own || ok && string(key) == own
		o.Open = o.Open || ok && r.Open
		return nil
	})
	if err != nil {
		return Origins{}, fmt.Errorf("get origins of %s: %w", d, err)
	}
	if !o.Own {
		r, known := s.index.Blob(i)
		o.Own = known && r.Origin == scope.Upstream
	}
	return o, nil
}

// origins looks at who has shown to have what. Without the content, that opens nothing.
func (f *forgetting) origins(ctx context.Context) error {
	return f.each(ctx, index.TableOrigin, func(key, value []byte) error {
		i, ok := index.OriginID(key)
		r, intact := index.DecodeOrigin(value)
		if !ok || !intact || !r.Made.End().Before(f.unused) || f.pins.has(i) {
			return nil
		}
		for _, table := range []byte{index.TableManifest, index.TableBlob} {
			if f.txn.Has(index.TableKey(table, i)) {
				return nil
			}
		}
		if _, err := f.s.root.Lstat(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.drop(key, value)
	})
}
