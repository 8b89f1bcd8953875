package storage

import (
	"context"
	"errors"
	"time"

	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// blobTable is what the index knows of the blobs.
type blobTable struct{ s *Store }

// Get returns the record of a blob. What cannot be read is not known: the file decides.
func (t blobTable) Get(i volume.ID) (blobRecord, bool) {
	var buffer [keyBytes]byte
	recent := append(append(buffer[:0], tableBlob), i...)
	known, place := t.s.recent.look(recent)
	if r, ok := known.(*blobRecord); ok {
		return *r, true
	}
	raw, err := t.s.get(tableKey(tableBlob, i))
	if err != nil {
		return blobRecord{}, false
	}
	r, ok := decodeBlob(raw)
	if ok {
		place.keep(recent, &r)
	}
	return r, ok
}

// Add records a blob that was placed, and fulfils its claim.
func (t blobTable) Add(i volume.ID, r blobRecord, claim *volume.Claim) error {
	return t.s.index.offer(linkBytes, func(b *batch) error {
		b.tally.Claims = append(b.tally.Claims, claim)
		return b.putBlob(i, r)
	})
}

// Size implements integrity.Records.
func (t blobTable) Size(i volume.ID) (size int64, known bool) {
	r, known := t.Get(i)
	return r.size, known
}

// Put implements integrity.Records.
func (t blobTable) Put(i volume.ID, size int64, created time.Time, check func() error) error {
	return t.s.index.offer(linkBytes, func(b *batch) error {
		if err := check(); err != nil {
			return err
		}
		return b.putBlob(i, blobRecord{size: size, created: created})
	})
}

// Drop implements integrity.Records.
func (t blobTable) Drop(i volume.ID) {
	t.s.index.post(func(b *batch) error { return b.dropBlob(i) })
}

// DropAll implements integrity.Records.
func (t blobTable) DropAll(ids []volume.ID) error {
	return t.s.index.offer(len(ids)*linkBytes, func(b *batch) error {
		for _, i := range ids {
			if err := b.dropBlob(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropIf implements integrity.Records.
func (t blobTable) DropIf(i volume.ID, condition func() bool) (dropped bool, err error) {
	err = t.s.index.update(linkBytes, func(b *batch) error {
		if dropped = b.Has(tableKey(tableBlob, i)) && condition(); dropped {
			return b.dropBlob(i)
		}
		return nil
	})
	if errors.Is(err, ErrNoIndex) {
		err = nil
	}
	return dropped, err
}

// Lacks implements integrity.Records.
func (t blobTable) Lacks(i volume.ID) bool {
	txn, err := t.s.begin()
	if err != nil {
		return false
	}
	defer txn.Discard()
	return txn.Lacks(tableKey(tableBlob, i))
}

// Shard implements integrity.Records.
func (t blobTable) Shard(h integrity.Shard) (map[volume.ID]int64, error) {
	txn, err := t.s.begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	first := []byte{tableBlob, h.Algorithm, byte(h.N >> 4)}
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

// Shards implements integrity.Records.
func (t blobTable) Shards(ctx context.Context, fn func(h integrity.Shard, size int64)) error {
	return t.s.eachRecord(ctx, tableBlob, func(_ *Txn, key, value []byte) {
		if h, ok := integrity.ShardOf(volume.ID(key[1:])); ok {
			fn(h, sizeOf(value))
		}
	})
}

// sizeOf returns the size in a record, or -1 if that cannot be read.
func sizeOf(value []byte) int64 {
	if r, ok := decodeBlob(value); ok {
		return r.size
	}
	return -1
}
