package storage

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Referrers is the list of what refers to a digest within a scope, as the
// upstream gave it when it was last asked.
type Referrers = index.Referrers

// Referrers returns the referrers of a digest, however long ago they were
// checked, or fs.ErrNotExist if they are not known.
func (r *Records) Referrers(ctx context.Context, scope oci.Scope, d digest.Digest) (Referrers, error) {
	key, err := referrersKey(scope, d)
	var raw []byte
	if err == nil {
		raw, err = r.read(ctx, key)
	}
	if err == nil {
		if known, ok := index.DecodeReferrers(raw); ok {
			return known, nil
		}
		err = fs.ErrNotExist
	}
	return Referrers{}, fmt.Errorf("get referrers of %s in %s: %w", d, scope, err)
}

// leastReferrer is about the least that one of a list takes in its record.
const leastReferrer = 100

// PutReferrers records the referrers of a digest. It links nothing. A list of
// more than 512 KiB is refused.
func (r *Records) PutReferrers(ctx context.Context, scope oci.Scope, d digest.Digest, of Referrers) error {
	key, err := referrersKey(scope, d)
	var record []byte
	if err == nil && len(of.Descriptors) > index.MaxValue/leastReferrer {
		err = fmt.Errorf("list of %d is longer than %d bytes", len(of.Descriptors), index.MaxValue)
	}
	if err == nil {
		record, err = index.EncodeReferrers(of)
	}
	if err == nil && len(record) > index.MaxValue {
		err = fmt.Errorf("list of %d bytes is longer than %d", len(record), index.MaxValue)
	}
	if err == nil {
		err = r.write(ctx, len(record), func(b *index.Batch) error { return b.Set(key, record) })
	}
	if err != nil {
		return fmt.Errorf("put referrers of %s in %s: %w", d, scope, err)
	}
	return nil
}

func referrersKey(scope oci.Scope, d digest.Digest) ([]byte, error) {
	i, err := volume.IDOf(d)
	if err != nil {
		return nil, err
	}
	return index.ScopedKey(index.TableReferrers, scope, i)
}
