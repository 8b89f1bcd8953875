package storage

import (
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// linkBytes is about what a link adds to a transaction.
const linkBytes = 128

// Link is the record that a digest belongs to a scope.
type Link struct {
	// Size is what the content is said to have; -1 = unknown. Only bytes that
	// match the digest prove it.
	Size int64
	// Proven says that the scope's upstream itself has answered for the digest.
	// Otherwise a manifest of the scope merely names it, which anybody who can
	// push one can bring about.
	Proven bool
}

// Linked returns the link of a digest to a scope, or fs.ErrNotExist.
func (s *Store) Linked(scope oci.Scope, d digest.Digest) (Link, error) {
	l, err := s.linked(scope, d)
	if err != nil {
		return Link{}, fmt.Errorf("get link of %s to %s: %w", d, scope, err)
	}
	return l, nil
}

func (s *Store) linked(scope oci.Scope, d digest.Digest) (Link, error) {
	var buffer [keyBytes]byte
	prefix := appendScope(buffer[:0], tableLink, scope)
	recent, err := appendID(prefix, d)
	if err != nil {
		return Link{}, err
	}
	known, place := s.recent.look(recent)
	if l, ok := known.(*Link); ok {
		return *l, nil
	}
	i := id(recent[len(prefix):])
	if err := s.enter(); err != nil {
		return Link{}, err
	}
	defer s.leave()
	raw, err := s.getScoped(tableLink, scope, i)
	if err != nil {
		return Link{}, err
	}
	r, ok := decodeLink(raw)
	if !ok {
		return Link{}, fs.ErrNotExist
	}
	place.keep(recent, &r.Link)
	return r.Link, nil
}

// Link links descriptors that the scope's upstream has answered for, in one
// transaction. A size of -1 does not replace one that is known.
func (s *Store) Link(scope oci.Scope, ds ...oci.Descriptor) error {
	if err := s.enter(); err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	defer s.leave()
	links, err := s.linksTo(ds, true)
	if err == nil {
		err = s.index.offer(len(ds)*linkBytes, func(b *batch) error { return b.linkAll(scope, links) })
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	return nil
}

// linkTo is a link that is to be made.
type linkTo struct {
	id id
	linkRecord
}

func (s *Store) linkTo(i id, l Link) linkTo { return linkTo{i, linkRecord{l, hourOf(s.now())}} }

func (s *Store) linksTo(ds []oci.Descriptor, proven bool) ([]linkTo, error) {
	links := make([]linkTo, 0, len(ds))
	for _, d := range ds {
		i, err := idOf(d.Digest)
		if err != nil {
			return nil, err
		}
		links = append(links, s.linkTo(i, Link{Size: d.Size, Proven: proven}))
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
