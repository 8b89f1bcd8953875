package storage

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Referrers is the list of what refers to a digest within a scope, as the
// upstream gave it when it was last asked.
type Referrers struct {
	Descriptors []oci.Descriptor
	// Checked is when that was, to the second.
	Checked time.Time
}

// Referrers returns the referrers of a digest, however long ago they were
// checked, or fs.ErrNotExist if they are not known.
func (s *Store) Referrers(ctx context.Context, scope oci.Scope, d digest.Digest) (Referrers, error) {
	r, err := s.referrers(ctx, scope, d)
	if err != nil {
		return Referrers{}, fmt.Errorf("get referrers of %s in %s: %w", d, scope, err)
	}
	return r, nil
}

func (s *Store) referrers(ctx context.Context, scope oci.Scope, d digest.Digest) (Referrers, error) {
	if err := s.enter(ctx); err != nil {
		return Referrers{}, err
	}
	defer s.leave()
	i, err := idOf(d)
	if err != nil {
		return Referrers{}, err
	}
	raw, err := s.getScoped(tableReferrers, scope, i)
	if err != nil {
		return Referrers{}, err
	}
	r, ok := decodeReferrers(raw)
	if !ok {
		return Referrers{}, fs.ErrNotExist
	}
	return r, nil
}

// PutReferrers records the referrers of a digest. It links nothing. A list of
// more than 512 KiB is refused.
func (s *Store) PutReferrers(ctx context.Context, scope oci.Scope, d digest.Digest, r Referrers) error {
	if err := s.putReferrers(ctx, scope, d, r); err != nil {
		return fmt.Errorf("put referrers of %s in %s: %w", d, scope, err)
	}
	return nil
}

func (s *Store) putReferrers(ctx context.Context, scope oci.Scope, d digest.Digest, r Referrers) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	i, err := idOf(d)
	if err != nil {
		return err
	}
	key, err := scopedKey(tableReferrers, scope, i)
	if err != nil {
		return err
	}
	record, err := encodeReferrers(r)
	if err != nil {
		return err
	}
	if len(record) > maxValue {
		return fmt.Errorf("list of %d bytes is longer than %d", len(record), maxValue)
	}
	return s.index.offer(ctx, len(record), func(b *batch) error { return b.set(key, record) })
}
