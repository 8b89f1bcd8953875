package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dgraph-io/badger/v4"
)

// Txn is the index as it was at one moment. It belongs to one goroutine, which calls
// Discard at the end: until then the index keeps what was since replaced.
type Txn struct{ txn *badger.Txn }

// Discard ends the transaction. A second call does nothing.
func (t *Txn) Discard() { t.txn.Discard() }

// Get returns a copy of a record, or fs.ErrNotExist.
func (t *Txn) Get(key []byte) ([]byte, error) {
	item, err := t.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// Has reports whether there is a record; where that cannot be read, there is none.
func (t *Txn) Has(key []byte) bool {
	_, err := t.txn.Get(key)
	return err == nil
}

// Lacks reports whether it is certain that there is no record.
func (t *Txn) Lacks(key []byte) bool {
	_, err := t.txn.Get(key)
	return errors.Is(err, badger.ErrKeyNotFound)
}

// Size returns about how many bytes a record takes; 0 = there is none.
func (t *Txn) Size(key []byte) int64 {
	item, err := t.txn.Get(key)
	if err != nil {
		return 0
	}
	return item.EstimatedSize()
}

// HasAny reports whether there are records whose keys begin with the prefix.
func (t *Txn) HasAny(prefix []byte) bool {
	it := t.Iterate(prefix)
	defer it.Close()
	return it.Next()
}

// Each calls fn for each record whose key begins with the prefix. fn keeps neither key
// nor value.
func (t *Txn) Each(ctx context.Context, prefix []byte, fn func(key, value []byte) error) error {
	return t.Keys(ctx, prefix, func(it *Iterator) error {
		value, err := it.Value()
		if err != nil {
			return fmt.Errorf("read record %q: %w", it.Key(), err)
		}
		return fn(it.Key(), value)
	})
}

// Keys calls fn at each record whose key begins with the prefix, and reads no value.
func (t *Txn) Keys(ctx context.Context, prefix []byte, fn func(*Iterator) error) error {
	it := t.Iterate(prefix)
	defer it.Close()
	for it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(it); err != nil {
			return err
		}
	}
	return nil
}

// Step returns copies of up to n records from a key on, and the key of the next one;
// nil = there is none. The values are nil unless they are asked for.
func (t *Txn) Step(prefix, from []byte, values bool, n int) (some []Record, next []byte, err error) {
	it := t.Iterate(prefix)
	defer it.Close()
	for it.Seek(from); it.Next(); {
		if len(some) == n {
			return some, bytes.Clone(it.Key()), nil
		}
		r := Record{Key: bytes.Clone(it.Key())}
		if values {
			value, err := it.Value()
			if err != nil {
				return nil, nil, err
			}
			r.Value = bytes.Clone(value)
		}
		some = append(some, r)
	}
	return some, nil, nil
}

// Record is a record as it stands in the index.
type Record struct{ Key, Value []byte }

// Load returns a record, decoded. It reports false if there is none that can be read.
func Load[R any](t *Txn, key []byte, decode func([]byte) (R, bool)) (record R, ok bool) {
	raw, err := t.Get(key)
	if err == nil {
		record, ok = decode(raw)
	}
	return record, ok
}

// Iterate returns an iterator through the records whose keys begin with the prefix, in
// their order.
func (t *Txn) Iterate(prefix []byte) *Iterator {
	return &Iterator{it: t.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})}
}

// Iterator goes through records of a Txn. It has to be closed.
type Iterator struct {
	it *badger.Iterator
	at position
}

// position is where an Iterator is.
type position int

const (
	atStart position = iota
	sought           // before the record that Seek found
	atRecord
)

// Next moves to the first record, and then to the next. It reports false after the last.
func (i *Iterator) Next() bool {
	switch i.at {
	case atStart:
		i.it.Rewind()
	case atRecord:
		i.it.Next()
	}
	i.at = atRecord
	return i.it.Valid()
}

// Seek makes Next move to the first record whose key is not less.
func (i *Iterator) Seek(key []byte) {
	i.it.Seek(key)
	i.at = sought
}

// Key returns the key, which is valid until Next.
func (i *Iterator) Key() []byte { return i.it.Item().Key() }

// Value returns the value, which is valid until Next.
func (i *Iterator) Value() (value []byte, err error) {
	err = i.it.Item().Value(func(v []byte) error { value = v; return nil })
	return value, err
}

// Size returns about how many bytes the record takes.
func (i *Iterator) Size() int64 { return i.it.Item().EstimatedSize() }

// Close lets go of the iterator.
func (i *Iterator) Close() { i.it.Close() }

// CopyOf returns a record that outlives the Iterator or Txn that it was read with.
func CopyOf(key, value []byte) Record { return Record{bytes.Clone(key), bytes.Clone(value)} }
