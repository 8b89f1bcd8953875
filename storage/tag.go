package storage

import (
	"context"
	"fmt"
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
func (r *Records) Tag(ctx context.Context, scope oci.Scope, tag string) (Tag, error) {
	var buffer [index.KeyBytes]byte
	read := func() ([]byte, error) {
		key, err := index.TagKey(scope, tag)
		if err != nil {
			return nil, err
		}
		return r.read(ctx, key)
	}
	t, err := index.Recall(r.index.Records, index.AppendTag(buffer[:0], scope, tag), read, index.DecodeTag)
	if err != nil {
		return Tag{}, fmt.Errorf("get tag %s:%s: %w", scope, tag, err)
	}
	return t, nil
}

// PutTag records what a tag points to, and links that to the scope, unproven, in one
// transaction: to name a manifest shows nothing.
func (r *Records) PutTag(ctx context.Context, scope oci.Scope, tag string, t Tag) error {
	key, err := index.TagKey(scope, tag)
	var i volume.ID
	if err == nil {
		i, err = volume.IDOf(t.Digest)
	}
	if err == nil {
		record := index.EncodeTag(t)
		err = r.write(ctx, len(record)+index.LinkBytes, func(b *index.Batch) error {
			if err := b.LinkAll(scope, []index.LinkTo{index.LinkTo{}.At(r.now(), i, t.Size)}); err != nil {
				return err
			}
			return b.Set(key, record)
		})
	}
	if err != nil {
		return fmt.Errorf("put tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

// DeleteTag forgets a tag. One that is not known is no error.
func (r *Records) DeleteTag(ctx context.Context, scope oci.Scope, tag string) error {
	key, err := index.TagKey(scope, tag)
	if err == nil {
		err = r.write(ctx, len(key), func(b *index.Batch) error { return b.Delete(key) })
	}
	if err != nil {
		return fmt.Errorf("delete tag %s:%s: %w", scope, tag, err)
	}
	return nil
}

// Tags returns the known tags of a scope that sort after the given one, in
// order, n at most; n < 0 = all. None is no error.
func (r *Records) Tags(ctx context.Context, scope oci.Scope, after string, n int) (tags []string, err error) {
	prefix, err := index.TagKey(scope, "")
	if err == nil {
		err = r.life.Within(ctx, func() error {
			return r.index.View(func(txn *index.Txn) error {
				it := txn.Iterate(prefix)
				defer it.Close()
				for it.Seek(append(slices.Clip(prefix), after...)); len(tags) != n && it.Next(); {
					if tag := string(it.Key()[len(prefix):]); tag != "" && tag != after {
						tags = append(tags, tag)
					}
				}
				return nil
			})
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", scope, err)
	}
	return tags, nil
}
