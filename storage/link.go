package storage

import (
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// linkBytes is about what a link adds to a transaction.
const linkBytes = 128

// Link is the record that a digest has been proven to belong to a scope.
type Link struct {
	// Size is that of the content; -1 = unknown.
	Size int64
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
	if err := s.enter(); err != nil {
		return Link{}, err
	}
	defer s.leave()
	i, err := idOf(d)
	if err != nil {
		return Link{}, err
	}
	raw, err := s.getScoped(tableLink, scope, i)
	if err != nil {
		return Link{}, err
	}
	size, ok := decodeLink(raw)
	if !ok {
		return Link{}, fs.ErrNotExist
	}
	return Link{Size: int64(size)}, nil
}

// Link links descriptors to a scope, in one transaction. A size of -1 does not
// replace one that is known.
func (s *Store) Link(scope oci.Scope, ds ...oci.Descriptor) error {
	if err := s.enter(); err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	defer s.leave()
	links, err := linksTo(ds)
	if err == nil {
		err = s.index.update(len(ds)*linkBytes, func(b *batch) error { return b.linkAll(scope, links) })
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	return nil
}

// sized is a piece of content and its size; -1 = unknown.
type sized struct {
	id   id
	size int64
}

func linksTo(ds []oci.Descriptor) ([]sized, error) {
	links := make([]sized, 0, len(ds))
	for _, d := range ds {
		i, err := idOf(d.Digest)
		if err != nil {
			return nil, err
		}
		links = append(links, sized{i, d.Size})
	}
	return links, nil
}

func (b *batch) linkAll(scope oci.Scope, links []sized) error {
	for _, l := range links {
		if err := b.link(scope, l.id, l.size); err != nil {
			return err
		}
	}
	return nil
}
