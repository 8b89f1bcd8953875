package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dgraph-io/badger/v4"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Origins say which upstreams have shown that they have some content: by delivering it,
// or by a proof that they possess it.
type Origins struct {
	// Own says that the upstream that is asked about has.
	Own bool
	// Open says that one has whose content others may prove to have.
	Open bool
}

// originRecord is that an upstream has shown that it has some content.
type originRecord struct {
	made useRecord // when it was first recorded
	open bool
}

func (r originRecord) encode() []byte {
	var flags byte
	if r.open {
		flags = 1
	}
	return seal(append(binary.BigEndian.AppendUint32(begin(5), uint32(r.made)), flags))
}

func decodeOrigin(b []byte) (r originRecord, ok bool) {
	f := open(b)
	raw, flags := f.take(4), f.take(1)
	if !f.end() || flags[0] > 1 {
		return originRecord{}, false
	}
	return originRecord{useRecord(binary.BigEndian.Uint32(raw)), flags[0] == 1}, true
}

// originKey returns the key of the record of an upstream, as in oci.Scope.
func originKey(i id, upstream string) []byte {
	sum := sha256.Sum256([]byte(upstream))
	return append(i.key(tableOrigin), sum[:scopeLength]...)
}

// originID returns the id in a key of originKey.
func originID(key []byte) (id, bool) {
	if len(key) < 1+scopeLength {
		return "", false
	}
	i := id(key[1 : len(key)-scopeLength])
	return i, i.valid()
}

// Origins returns who has shown to have some content, as seen from the upstream of a
// scope. Of a blob that was brought in before that was recorded, it is the upstream that
// did so.
func (s *Store) Origins(ctx context.Context, scope oci.Scope, d digest.Digest) (o Origins, err error) {
	i, err := idOf(d)
	if err == nil {
		err = s.enter(ctx)
	}
	if err != nil {
		return o, fmt.Errorf("get origins of %s: %w", d, err)
	}
	defer s.leave()
	txn, err := s.begin()
	if err != nil {
		return o, fmt.Errorf("get origins of %s: %w", d, err)
	}
	defer txn.Discard()
	own := string(originKey(i, scope.Upstream))
	it := txn.NewIterator(badger.IteratorOptions{Prefix: i.key(tableOrigin)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(v []byte) error {
			r, ok := decodeOrigin(v)
			o.Own = o.Own || ok && string(it.Item().Key()) == own
			o.Open = o.Open || ok && r.open
			return nil
		}); err != nil {
			return Origins{}, fmt.Errorf("get origins of %s: %w", d, err)
		}
	}
	if !o.Own {
		r, known := s.blobRecord(i)
		o.Own = known && r.origin == scope.Upstream
	}
	return o, nil
}

// shown records that an upstream has shown to have some content.
func (b *batch) shown(upstream string, l linkTo) error {
	key := originKey(l.id, upstream)
	r := originRecord{made: l.made, open: l.open}
	if raw, err := get(b.txn, key); err == nil {
		if old, ok := decodeOrigin(raw); ok && (old.open || !r.open) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.set(key, r.encode())
}

// origins looks at who has shown to have what. Without the content, that opens nothing.
func (f *forgetting) origins(ctx context.Context) error {
	return f.each(ctx, tableOrigin, func(key, value []byte) error {
		i, ok := originID(key)
		r, intact := decodeOrigin(value)
		if !ok || !intact || !r.made.end().Before(f.unused) || f.pins.has(i) {
			return nil
		}
		for _, table := range []byte{tableManifest, tableBlob} {
			if _, err := f.txn.Get(i.key(table)); err == nil {
				return nil
			}
		}
		if _, err := f.s.root.Lstat(i.blobPath()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.drop(key, value)
	})
}
