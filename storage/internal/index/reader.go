package index

import (
	"context"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// recentRecords are about 8 MiB, recentManifests 16 MiB at worst. A hit of a
	// blob needs two records.
	recentRecords   = 32 << 10
	recentManifests = 512
)

// reader reads the index. Its methods are safe for concurrent use.
type reader struct {
	// Records and Manifests are what was read lately: tags, links and blobs in the first.
	Records, Manifests *Recent

	life   *life.Life
	health *health
	// db is nil until the index is open, and never again after that.
	db       atomic.Pointer[badger.DB]
	readable atomic.Pointer[badger.DB] // see OpenReadable; nil where db was open at once
}

func newReader(l *life.Life, h *health) *reader {
	return &reader{life: l, health: h, Records: newRecent(recentRecords), Manifests: newRecent(recentManifests)}
}

// IsOpen reports whether the index was opened, even if that was lost since.
func (r *reader) IsOpen() bool { return r.db.Load() != nil }

// Begin starts a reading transaction, or returns ErrNoIndex.
func (r *reader) Begin() (*Txn, error) {
	if db := r.db.Load(); db != nil {
		return &Txn{db.NewTransaction(false)}, nil
	}
	if db := r.readable.Load(); db != nil {
		return &Txn{db.NewTransaction(false)}, nil
	}
	return nil, ErrNoIndex
}

// View calls fn with the index as it is at present, or returns ErrNoIndex.
func (r *reader) View(fn func(*Txn) error) error {
	txn, err := r.Begin()
	if err != nil {
		return err
	}
	defer txn.Discard()
	return fn(txn)
}

// Get returns a copy of a record, or fs.ErrNotExist.
func (r *reader) Get(key []byte) (raw []byte, err error) {
	err = r.View(func(txn *Txn) (err error) {
		raw, err = txn.Get(key)
		return err
	})
	r.health.NoteDamage(err)
	return raw, err
}

// Blob returns the record of a blob. What cannot be read is not known: the file
// decides.
func (r *reader) Blob(i volume.ID) (Blob, bool) {
	var buffer [KeyBytes]byte
	read := func() ([]byte, error) { return r.Get(TableKey(TableBlob, i)) }
	found, err := Recall(r.Records, append(append(buffer[:0], TableBlob), i...), read, DecodeBlob)
	return found, err == nil
}

// Size returns the bytes of the index in its tables, and of all its files, up to a
// minute old.
func (r *reader) Size() (tables, all int64) {
	db := r.db.Load()
	if db == nil {
		return 0, 0
	}
	tables, logs := db.Size()
	return tables, tables + logs
}

// changed makes hits look up again what has changed.
func (r *reader) changed(key []byte) {
	if key[0] == TableManifest {
		r.Manifests.changed(key)
		return
	}
	r.Records.changed(key)
}

// Clear makes hits look up everything again.
func (r *reader) Clear() {
	r.Records.clear()
	r.Manifests.clear()
}

// EachRecord calls fn for each record of a table, within the life of the store.
func (r *reader) EachRecord(ctx context.Context, table byte, fn func(txn *Txn, key, value []byte)) error {
	for from := []byte{table}; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := r.life.Within(context.Background(), func() error {
			txn, err := r.Begin()
			if err != nil {
				return err
			}
			defer txn.Discard()
			some, next, err := txn.Step([]byte{table}, from, true, TableStep)
			for _, r := range some {
				fn(txn, r.Key, r.Value)
			}
			from = next
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
