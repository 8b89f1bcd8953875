package storage

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Tag is what a tag pointed to when the upstream was last asked. Times are kept
// to the second.
type Tag = index.Tag

// Tag returns what a tag points to, however long ago that was checked, or
// fs.ErrNotExist.
func (s *Store) Tag(scope oci.Scope, tag string) (Tag, error) {
	t, err := s.tag(scope, tag)
	if err != nil {
		return Tag{}, fmt.Errorf("get tag %s:%s: %w", scope, tag, err)
	}
	return t, nil
}

func (s *Store) tag(scope oci.Scope, tag string) (Tag, error) {
	var buffer [index.KeyBytes]byte
	recent := index.AppendTag(buffer[:0], scope, tag)
	known, place := s.index.Records.Look(recent)
	if t, ok := known.(*Tag); ok {
		return *t, nil
	}
	if err := s.enter(); err != nil {
		return Tag{}, err
	}
	defer s.leave()
	key, err := index.TagKey(scope, tag)
	if err != nil {
		return Tag{}, err
	}
	raw, err := s.index.Get(key)
	if err != nil {
		return Tag{}, err
	}
	t, ok := index.DecodeTag(raw)
	if !ok {
		return Tag{}, fs.ErrNotExist
	}
	place.Keep(recent, &t)
	return t, nil
}

// PutTag records what a tag points to, and links that to the scope, unproven, in one
// transaction: to name a manifest shows nothing.
func (s *Store) PutTag(scope oci.Scope, tag string, t Tag) error {
	if err := s.putTag(scope, tag, t); err != nil {
		return fmt.Errorf("put tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

func (s *Store) putTag(scope oci.Scope, tag string, t Tag) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	i, err := volume.IDOf(t.Digest)
	if err != nil {
		return err
	}
	key, err := index.TagKey(scope, tag)
	if err != nil {
		return err
	}
	record := index.EncodeTag(t)
	return s.index.Offer(len(record)+index.LinkBytes, func(b *index.Batch) error {
		if err := b.LinkAll(scope, []index.LinkTo{s.linkTo(i, t.Size, index.LinkTo{})}); err != nil {
			return err
		}
		return b.Set(key, record)
	})
}

// DeleteTag forgets a tag. One that is not known is no error.
func (s *Store) DeleteTag(scope oci.Scope, tag string) error {
	if err := s.deleteTag(scope, tag); err != nil {
		return fmt.Errorf("delete tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

func (s *Store) deleteTag(scope oci.Scope, tag string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	key, err := index.TagKey(scope, tag)
	if err != nil {
		return err
	}
	return s.index.Offer(len(key), func(b *index.Batch) error { return b.Delete(key) })
}

// Tags returns the known tags of a scope that sort after the given one, in
// order, n at most; n < 0 = all. None is no error.
func (s *Store) Tags(scope oci.Scope, after string, n int) ([]string, error) {
	tags, err := s.tags(scope, after, n)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", scope, err)
	}
	return tags, nil
}

func (s *Store) tags(scope oci.Scope, after string, n int) ([]string, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix, err := index.TagKey(scope, "")
	if err != nil {
		return nil, err
	}
	txn, err := s.index.Begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	it := txn.Iterate(prefix)
	defer it.Close()
	var tags []string
	for it.Seek(append(slices.Clip(prefix), after...)); len(tags) != n && it.Next(); {
		if tag := string(it.Key()[len(prefix):]); tag != "" && tag != after {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}
