package index

import (
	"context"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Blobs calls fn for each blob that is recorded, with its last use. Both tables are
// sorted by id, so one walk through both brings them together.
func (t *Txn) Blobs(ctx context.Context, fn func(volume.ID, Blob, Use) error) error {
	uses := t.Iterate([]byte{TableUse})
	defer uses.Close()
	more := uses.Next()
	return t.Each(ctx, []byte{TableBlob}, func(key, value []byte) error {
		i := volume.ID(key[1:])
		for more && volume.ID(uses.Key()[1:]) < i {
			more = uses.Next()
		}
		blob, ok := DecodeBlob(value)
		if !ok || !i.Valid() {
			return nil
		}
		var used Use
		if more && volume.ID(uses.Key()[1:]) == i {
			value, err := uses.Value()
			if err != nil {
				return err
			}
			used, _ = DecodeUse(value)
		}
		return fn(i, blob, used)
	})
}
