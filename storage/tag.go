package storage

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Tag is what a tag pointed to when the upstream was last asked. Times are kept
// to the second.
type Tag struct {
	Digest    digest.Digest
	MediaType string
	// Size is that of the manifest; -1 = unknown.
	Size int64
	// Checked is when the upstream last confirmed it, Changed when it first
	// pointed to this digest.
	Checked, Changed time.Time
}

// Tag returns what a tag points to, however long ago that was checked, or
// fs.ErrNotExist.
func (s *Store) Tag(ctx context.Context, scope oci.Scope, tag string) (Tag, error) {
	t, err := s.tag(ctx, scope, tag)
	if err != nil {
		return Tag{}, fmt.Errorf("get tag %s:%s: %w", scope, tag, err)
	}
	return t, nil
}

func (s *Store) tag(ctx context.Context, scope oci.Scope, tag string) (Tag, error) {
	var buffer [keyBytes]byte
	recent := appendTag(buffer[:0], scope, tag)
	known, place := s.recent.look(recent)
	if t, ok := known.(*Tag); ok {
		return *t, nil
	}
	if err := s.enter(ctx); err != nil {
		return Tag{}, err
	}
	defer s.leave()
	key, err := tagKey(scope, tag)
	if err != nil {
		return Tag{}, err
	}
	raw, err := s.get(key)
	if err != nil {
		return Tag{}, err
	}
	t, ok := decodeTag(raw)
	if !ok {
		return Tag{}, fs.ErrNotExist
	}
	place.keep(recent, &t)
	return t, nil
}

// PutTag records what a tag points to, and links that to the scope, unproven, in one
// transaction: to name a manifest shows nothing.
func (s *Store) PutTag(ctx context.Context, scope oci.Scope, tag string, t Tag) error {
	if err := s.putTag(ctx, scope, tag, t); err != nil {
		return fmt.Errorf("put tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

func (s *Store) putTag(ctx context.Context, scope oci.Scope, tag string, t Tag) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	i, err := idOf(t.Digest)
	if err != nil {
		return err
	}
	key, err := tagKey(scope, tag)
	if err != nil {
		return err
	}
	record := encodeTag(t)
	return s.index.offer(ctx, len(record)+linkBytes, func(b *batch) error {
		if err := b.linkAll(scope, []linkTo{s.linkTo(i, t.Size, linkTo{})}); err != nil {
			return err
		}
		return b.set(key, record)
	})
}

// DeleteTag forgets a tag. One that is not known is no error.
func (s *Store) DeleteTag(ctx context.Context, scope oci.Scope, tag string) error {
	if err := s.deleteTag(ctx, scope, tag); err != nil {
		return fmt.Errorf("delete tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

func (s *Store) deleteTag(ctx context.Context, scope oci.Scope, tag string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	key, err := tagKey(scope, tag)
	if err != nil {
		return err
	}
	return s.index.offer(ctx, len(key), func(b *batch) error { return b.delete(key) })
}

// Tags returns the known tags of a scope that sort after the given one, in
// order, n at most; n < 0 = all. None is no error.
func (s *Store) Tags(ctx context.Context, scope oci.Scope, after string, n int) ([]string, error) {
	tags, err := s.tags(ctx, scope, after, n)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", scope, err)
	}
	return tags, nil
}

func (s *Store) tags(ctx context.Context, scope oci.Scope, after string, n int) ([]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix, err := tagKey(scope, "")
	if err != nil {
		return nil, err
	}
	txn, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var tags []string
	for it.Seek(append(slices.Clip(prefix), after...)); it.Valid() && len(tags) != n; it.Next() {
		if tag := string(it.Item().Key()[len(prefix):]); tag != "" && tag != after {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}
