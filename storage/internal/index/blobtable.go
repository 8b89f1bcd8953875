package index

import (
	"context"
	"errors"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// TableStep is how many records are looked at in one transaction: a store that
// closes waits for no more.
const TableStep = 500

// BlobTable is what an index knows of the blobs, for those who look after their files.
type BlobTable struct{ *Index }

// Add records a blob that was placed, and fulfils its claim.
func (t BlobTable) Add(i volume.ID, r Blob, claim *volume.Claim) error {
	return t.Offer(context.Background(), LinkBytes, func(b *Batch) error {
		b.Tally.Claims = append(b.Tally.Claims, claim)
		return b.PutBlob(i, r)
	})
}

// Size returns the size that is recorded of a blob, if there is a record.
func (t BlobTable) Size(i volume.ID) (size int64, known bool) {
	r, known := t.Blob(i)
	return r.Size, known
}

// Put records a blob, unless check returns an error: the record is written together
// with what that finds out.
func (t BlobTable) Put(i volume.ID, size int64, created time.Time, check func() error) error {
	return t.Offer(context.Background(), LinkBytes, func(b *Batch) error {
		if err := check(); err != nil {
			return err
		}
		return b.PutBlob(i, Blob{Size: size, Created: created})
	})
}

// Drop has the record of a blob dropped soon, if at all, and if the condition holds then.
func (t BlobTable) Drop(i volume.ID, condition func() bool) {
	t.Post(func(b *Batch) error {
		if !condition() {
			return nil
		}
		return b.DropBlob(i)
	})
}

// DropAll drops the records of blobs.
func (t BlobTable) DropAll(ids []volume.ID) error {
	return t.Offer(context.Background(), len(ids)*LinkBytes, func(b *Batch) error {
		for _, i := range ids {
			if err := b.DropBlob(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropIf drops the record of a blob if there is one and the condition holds, and
// reports whether it did. Without index there is none.
func (t BlobTable) DropIf(i volume.ID, condition func() bool) (dropped bool, err error) {
	err = t.Update(LinkBytes, func(b *Batch) error {
		if dropped = b.Has(TableKey(TableBlob, i)) && condition(); dropped {
			return b.DropBlob(i)
		}
		return nil
	})
	if errors.Is(err, ErrNoIndex) {
		err = nil
	}
	return dropped, err
}

// Lacks reports whether it is certain that there is no record of a blob.
func (t BlobTable) Lacks(i volume.ID) bool {
	txn, err := t.Begin()
	if err != nil {
		return false
	}
	defer txn.Discard()
	return txn.Lacks(TableKey(TableBlob, i))
}

// Shard returns the sizes that are recorded of the blobs of a directory; -1 = the
// record cannot be read.
func (t BlobTable) Shard(h volume.Shard) (map[volume.ID]int64, error) {
	txn, err := t.Begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	first := []byte{TableBlob, h.Algorithm, byte(h.N >> 4)}
	it := txn.Iterate(first)
	defer it.Close()
	half := byte(h.N) & 15
	sizes := make(map[volume.ID]int64)
	for it.Seek(append(first, half<<4)); it.Next(); {
		key := it.Key()
		if len(key) <= len(first) || key[len(first)]>>4 != half {
			break
		}
		value, err := it.Value()
		if err != nil {
			return nil, err
		}
		sizes[volume.ID(key[1:])] = sizeOf(value)
	}
	return sizes, nil
}

// Shards calls fn for each record of a blob, with its directory and size.
func (t BlobTable) Shards(ctx context.Context, fn func(h volume.Shard, size int64)) error {
	return t.EachRecord(ctx, TableBlob, func(_ *Txn, key, value []byte) {
		if h, ok := volume.ShardOf(volume.ID(key[1:])); ok {
			fn(h, sizeOf(value))
		}
	})
}

// sizeOf returns the size in a record, or -1 if that cannot be read.
func sizeOf(value []byte) int64 {
	if r, ok := DecodeBlob(value); ok {
		return r.Size
	}
	return -1
}
