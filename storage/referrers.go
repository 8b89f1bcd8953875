package storage

import (
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
func (s *Store) Referrers(scope oci.Scope, d digest.Digest) (Referrers, error) {
	r, err := s.referrers(scope, d)
	if err != nil {
		return Referrers{}, fmt.Errorf("get referrers of %s in %s: %w", d, scope, err)
	}
	return r, nil
}

func (s *Store) referrers(scope oci.Scope, d digest.Digest) (Referrers, error) {
	if err := s.enter(); err != nil {
		return Referrers{}, err
	}
	defer s.leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return Referrers{}, err
	}
	raw, err := s.getScoped(index.TableReferrers, scope, i)
	if err != nil {
		return Referrers{}, err
	}
	r, ok := index.DecodeReferrers(raw)
	if !ok {
		return Referrers{}, fs.ErrNotExist
	}
	return r, nil
}

// PutReferrers records the referrers of a digest. It links nothing. A list of
// more than 512 KiB is refused.
func (s *Store) PutReferrers(scope oci.Scope, d digest.Digest, r Referrers) error {
	if err := s.putReferrers(scope, d, r); err != nil {
		return fmt.Errorf("put referrers of %s in %s: %w", d, scope, err)
	}
	return nil
}

func (s *Store) putReferrers(scope oci.Scope, d digest.Digest, r Referrers) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return err
	}
	key, err := index.ScopedKey(index.TableReferrers, scope, i)
	if err != nil {
		return err
	}
	record, err := index.EncodeReferrers(r)
	if err != nil {
		return err
	}
	if len(record) > index.MaxValue {
		return fmt.Errorf("list of %d bytes is longer than %d", len(record), index.MaxValue)
	}
	return s.index.Offer(len(record), func(b *index.Batch) error { return b.Set(key, record) })
}
