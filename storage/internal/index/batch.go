package index

import (
	"errors"
	"strings"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Batch is a transaction in the making. What it reads includes what it wrote,
// and nobody else writes.
type Batch struct {
	*Txn

	Tally   volume.Tally
	changed bool // something that a snapshot holds
	keys    [][]byte
	size    int64 // no less than the bytes that it adds to the log of Badger
	linked  func(volume.ID)
}

// Put writes an entry.
func (b *Batch) Put(key, value []byte) error {
	b.size += int64(len(key)+len(value)) + entryBytes
	b.keys = append(b.keys, key)
	return b.txn.Set(key, value)
}

// Drop removes an entry.
func (b *Batch) Drop(key []byte) error {
	b.size += int64(len(key)) + entryBytes
	b.keys = append(b.keys, key)
	return b.txn.Delete(key)
}

// Delete removes a record.
func (b *Batch) Delete(key []byte) error {
	b.changed = b.changed || strings.IndexByte(snapshotTables, key[0]) >= 0
	return b.Drop(key)
}

// Set writes a record, unless it stands there already.
func (b *Batch) Set(key, record []byte) error {
	old, _ := b.Get(key)
	return b.replace(key, old, record)
}

// replace is set where it is known what stands there; nil = nothing.
func (b *Batch) replace(key, old, record []byte) error {
	if old != nil && string(old) == string(record) {
		return nil
	}
	b.changed = b.changed || strings.IndexByte(snapshotTables, key[0]) >= 0
	return b.Put(key, record)
}

// PutBlob records a blob. When it was first recorded, and for whom, is kept.
func (b *Batch) PutBlob(i volume.ID, r Blob) error {
	old, known := b.Blob(i)
	if known {
		if old.Size == r.Size {
			if old.Origin != "" || r.Origin == "" {
				return nil
			}
			// The walk of the opening has verified the file before its fill recorded it.
			r.Created = old.Created
		}
		if old.Origin != "" {
			r.Origin = old.Origin
		}
		b.Tally.Add(old.Origin, old.Size, -1)
	}
	b.Tally.Add(r.Origin, r.Size, 1)
	return b.Put(TableKey(TableBlob, i), r.Encode())
}

// DropBlob removes the records of a blob.
func (b *Batch) DropBlob(i volume.ID) error {
	if old, known := b.Blob(i); known {
		b.Tally.Add(old.Origin, old.Size, -1)
	}
	return errors.Join(b.Drop(TableKey(TableBlob, i)), b.Drop(TableKey(TableUse, i)))
}

// Blob returns the record of a blob; zero if it is not known.
func (b *Batch) Blob(i volume.ID) (Blob, bool) {
	return Load(b.Txn, TableKey(TableBlob, i), DecodeBlob)
}
