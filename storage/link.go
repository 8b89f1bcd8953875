package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// linkBytes is about what a link adds to a transaction.
const linkBytes = 256

// Link is the record that a digest belongs to a scope.
type Link struct {
	// Size is what the content is said to have; -1 = unknown. Only bytes that
	// match the digest prove it.
	Size int64
	// Proven says that the scope's upstream itself has shown to have the content: it has
	// delivered it, or has proven it. Otherwise it merely speaks of the digest, which
	// costs nothing.
	Proven bool
}

// Linked returns the link of a digest to a scope, or fs.ErrNotExist.
func (s *Store) Linked(ctx context.Context, scope oci.Scope, d digest.Digest) (Link, error) {
	r, err := s.linked(ctx, scope, d)
	if err != nil {
		return Link{}, fmt.Errorf("get link of %s to %s: %w", d, scope, err)
	}
	return r.Link, nil
}

// ProvenAt returns when the link of a digest to a scope was last proven, or
// fs.ErrNotExist if it is not. Of one from before that was recorded, it is when the link
// was made.
func (s *Store) ProvenAt(ctx context.Context, scope oci.Scope, d digest.Digest) (time.Time, error) {
	r, err := s.linked(ctx, scope, d)
	if err == nil && !r.Proven {
		err = fs.ErrNotExist
	}
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("get proof of %s for %s: %w", d, scope, err)
	case r.proved.IsZero():
		return r.made.end(), nil
	}
	return r.proved, nil
}

func (s *Store) linked(ctx context.Context, scope oci.Scope, d digest.Digest) (linkRecord, error) {
	var buffer [keyBytes]byte
	prefix := appendScope(buffer[:0], tableLink, scope)
	recent, err := appendID(prefix, d)
	if err != nil {
		return linkRecord{}, err
	}
	known, place := s.recent.look(recent)
	if r, ok := known.(*linkRecord); ok {
		return *r, nil
	}
	i := id(recent[len(prefix):])
	if err := s.enter(ctx); err != nil {
		return linkRecord{}, err
	}
	defer s.leave()
	raw, err := s.getScoped(tableLink, scope, i)
	if err != nil {
		return linkRecord{}, err
	}
	r, ok := decodeLink(raw)
	if !ok {
		return linkRecord{}, fs.ErrNotExist
	}
	place.keep(recent, &r)
	return r, nil
}

// Link links descriptors that the scope's upstream has shown to have, in one
// transaction: by delivering the bytes, or by a proof. What it shows opens nothing to
// other upstreams. A size of -1 does not replace one that is known.
func (s *Store) Link(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(ctx, scope, ds, linkTo{linkRecord: linkRecord{Link: Link{Proven: true}}})
}

// LinkOpen is Link for what other upstreams may prove to have, too.
func (s *Store) LinkOpen(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(ctx, scope, ds, linkTo{open: true, linkRecord: linkRecord{Link: Link{Proven: true}}})
}

// Claim links descriptors that the scope's upstream merely speaks of. It opens nothing,
// and changes no size that is proven.
func (s *Store) Claim(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return s.link(ctx, scope, ds, linkTo{})
}

// Resize corrects the size of a link, which says no more than before otherwise.
func (s *Store) Resize(ctx context.Context, scope oci.Scope, d oci.Descriptor) error {
	return s.amend(ctx, scope, d.Digest, func(r *linkRecord) { r.Size = d.Size })
}

// Refute ends what was proven of a digest for a scope: its upstream says that it is not
// there any more. Others keep what they have shown.
func (s *Store) Refute(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	return s.amend(ctx, scope, d, func(r *linkRecord) { r.Proven, r.proved = false, time.Time{} })
}

// amend changes a link that is there.
func (s *Store) amend(ctx context.Context, scope oci.Scope, d digest.Digest, change func(*linkRecord)) error {
	i, err := idOf(d)
	if err == nil {
		err = s.enter(ctx)
	}
	if err != nil {
		return fmt.Errorf("amend link of %s to %s: %w", d, scope, err)
	}
	defer s.leave()
	key, err := scopedKey(tableLink, scope, i)
	if err == nil {
		err = s.index.offer(ctx, linkBytes, func(b *batch) error {
			raw, err := get(b.txn, key)
			if err != nil {
				return err
			}
			r, ok := decodeLink(raw)
			if !ok {
				return nil
			}
			change(&r)
			return b.set(key, r.encode())
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("amend link of %s to %s: %w", d, scope, err)
	}
	return nil
}

func (s *Store) link(ctx context.Context, scope oci.Scope, ds []oci.Descriptor, as linkTo) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	defer s.leave()
	links, err := s.linksTo(ds, as)
	if err == nil {
		err = s.index.offer(ctx, len(ds)*linkBytes, func(b *batch) error { return b.linkAll(scope, links) })
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	return nil
}

// linkTo is a link that is to be made.
type linkTo struct {
	id   id
	open bool // other upstreams may prove to have it, too
	linkRecord
}

func (s *Store) linkTo(i id, size int64, as linkTo) linkTo {
	now := s.now()
	as.id, as.Size, as.made = i, size, hourOf(now)
	if as.Proven {
		as.proved = now
	}
	return as
}

func (s *Store) linksTo(ds []oci.Descriptor, as linkTo) ([]linkTo, error) {
	links := make([]linkTo, 0, len(ds))
	for _, d := range ds {
		i, err := idOf(d.Digest)
		if err != nil {
			return nil, err
		}
		links = append(links, s.linkTo(i, d.Size, as))
	}
	return links, nil
}

func (b *batch) linkAll(scope oci.Scope, links []linkTo) error {
	if len(links) > 0 {
		if err := b.name(scope, links[0].made); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := b.link(scope, l); err != nil {
			return err
		}
	}
	return nil
}
