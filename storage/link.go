package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Link is the record that a digest belongs to a scope.
type Link = index.Link

// Linked returns the link of a digest to a scope, or fs.ErrNotExist.
func (s *Store) Linked(scope oci.Scope, d digest.Digest) (Link, error) {
	r, err := s.linked(scope, d)
	if err != nil {
		return Link{}, fmt.Errorf("get link of %s to %s: %w", d, scope, err)
	}
	return r.Link, nil
}

// ProvenAt returns when the link of a digest to a scope was last proven, or
// fs.ErrNotExist if it is not. Of one from before that was recorded, it is when the link
// was made.
func (s *Store) ProvenAt(scope oci.Scope, d digest.Digest) (time.Time, error) {
	r, err := s.linked(scope, d)
	if err == nil && !r.Proven {
		err = fs.ErrNotExist
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("get proof of %s for %s: %w", d, scope, err)
	case r.Proved.IsZero():
		return r.Made.End(), nil
	}
	return r.Proved, nil
}

func (s *Store) linked(scope oci.Scope, d digest.Digest) (index.LinkRecord, error) {
	var buffer [index.KeyBytes]byte
	prefix := index.AppendScope(buffer[:0], index.TableLink, scope)
	recent, err := volume.AppendID(prefix, d)
	if err != nil {
		return index.LinkRecord{}, err
	}
	known, place := s.index.Records.Look(recent)
	if r, ok := known.(*index.LinkRecord); ok {
		return *r, nil
	}
	i := volume.ID(recent[len(prefix):])
	if err := s.enter(); err != nil {
		return index.LinkRecord{}, err
	}
	defer s.leave()
	raw, err := s.getScoped(index.TableLink, scope, i)
	if err != nil {
		return index.LinkRecord{}, err
	}
	r, ok := index.DecodeLink(raw)
	if !ok {
		return index.LinkRecord{}, fs.ErrNotExist
	}
	place.Keep(recent, &r)
	return r, nil
}

// Link links descriptors that the scope's upstream has shown to have, in one
// transaction: by delivering the bytes, or by a proof. What it shows opens nothing to
// other upstreams. A size of -1 does not replace one that is known.
func (s *Store) Link(scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(scope, ds, index.LinkTo{LinkRecord: index.LinkRecord{Link: Link{Proven: true}}})
}

// LinkOpen is Link for what other upstreams may prove to have, too.
func (s *Store) LinkOpen(scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(scope, ds, index.LinkTo{Open: true, LinkRecord: index.LinkRecord{Link: Link{Proven: true}}})
}

// Claim links descriptors that the scope's upstream merely speaks of. It opens nothing,
// and changes no size that is proven.
func (s *Store) Claim(scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(scope, ds, index.LinkTo{})
}

// Resize corrects the size of a link, which says no more than before otherwise.
func (s *Store) Resize(scope oci.Scope, d oci.Descriptor) error {
	return s.amend(scope, d.Digest, func(r *index.LinkRecord) { r.Size = d.Size })
}

// Refute ends what was proven of a digest for a scope: its upstream says that it is not
// there any more. Others keep what they have shown.
func (s *Store) Refute(scope oci.Scope, d digest.Digest) error {
	return s.amend(scope, d, func(r *index.LinkRecord) { r.Proven, r.Proved = false, time.Time{} })
}

// amend changes a link that is there.
func (s *Store) amend(scope oci.Scope, d digest.Digest, change func(*index.LinkRecord)) error {
	i, err := volume.IDOf(d)
	if err == nil {
		err = s.enter()
	}
	if err != nil {
		return fmt.Errorf("amend link of %s to %s: %w", d, scope, err)
	}
	defer s.leave()
	key, err := index.ScopedKey(index.TableLink, scope, i)
	if err == nil {
		err = s.index.Offer(index.LinkBytes, func(b *index.Batch) error {
			raw, err := b.Get(key)
			if err != nil {
				return err
			}
			r, ok := index.DecodeLink(raw)
			if !ok {
				return nil
			}
			change(&r)
			return b.Set(key, r.Encode())
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("amend link of %s to %s: %w", d, scope, err)
	}
	return nil
}

func (s *Store) link(scope oci.Scope, ds []oci.Descriptor, as index.LinkTo) error {
	if err := s.enter(); err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	defer s.leave()
	links, err := s.linksTo(ds, as)
	if err == nil {
		err = s.index.Offer(len(ds)*index.LinkBytes, func(b *index.Batch) error { return b.LinkAll(scope, links) })
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	return nil
}

func (s *Store) linkTo(i volume.ID, size int64, as index.LinkTo) index.LinkTo {
	now := s.now()
	as.ID, as.Size, as.Made = i, size, index.HourOf(now)
	if as.Proven {
		as.Proved = now
	}
	return as
}

func (s *Store) linksTo(ds []oci.Descriptor, as index.LinkTo) ([]index.LinkTo, error) {
	links := make([]index.LinkTo, 0, len(ds))
	for _, d := range ds {
		i, err := volume.IDOf(d.Digest)
		if err != nil {
			return nil, err
		}
		links = append(links, s.linkTo(i, d.Size, as))
	}
	return links, nil
}
