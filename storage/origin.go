package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
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
	return record.Seal(append(binary.BigEndian.AppendUint32(record.Begin(5), uint32(r.made)), flags))
}

func decodeOrigin(b []byte) (r originRecord, ok bool) {
	f := record.Open(b)
	raw, flags := f.Take(4), f.Take(1)
	if !f.End() || flags[0] > 1 {
		return originRecord{}, false
	}
	return originRecord{useRecord(binary.BigEndian.Uint32(raw)), flags[0] == 1}, true
}

// originKey returns the key of the record of an upstream, as in oci.Scope.
func originKey(i volume.ID, upstream string) []byte {
	sum := sha256.Sum256([]byte(upstream))
	return append(tableKey(tableOrigin, i), sum[:scopeLength]...)
}

// originID returns the id in a key of originKey.
func originID(key []byte) (volume.ID, bool) {
	if len(key) < 1+scopeLength {
		return "", false
	}
	i := volume.ID(key[1 : len(key)-scopeLength])
	return i, i.Valid()
}

// Origins returns who has shown to have some content, as seen from the upstream of a
// scope. Of a blob that was brought in before that was recorded, it is the upstream that
// did so.
func (s *Store) Origins(scope oci.Scope, d digest.Digest) (o Origins, err error) {
	i, err := volume.IDOf(d)
	if err == nil {
		err = s.enter()
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
	err = txn.Each(context.Background(), tableKey(tableOrigin, i), func(key, value []byte) error {
		r, ok := decodeOrigin(value)
		o.Own = o.Own || ok && string(key) == own
		o.Open = o.Open || ok && r.open
		return nil
	})
	if err != nil {
		return Origins{}, fmt.Errorf("get origins of %s: %w", d, err)
	}
	if !o.Own {
		r, known := s.blobs.Get(i)
		o.Own = known && r.origin == scope.Upstream
	}
	return o, nil
}

// shown records that an upstream has shown to have some content.
func (b *batch) shown(upstream string, l linkTo) error {
	key := originKey(l.id, upstream)
	r := originRecord{made: l.made, open: l.open}
	if raw, err := b.Get(key); err == nil {
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
			if f.txn.Has(tableKey(table, i)) {
				return nil
			}
		}
		if _, err := f.s.root.Lstat(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.drop(key, value)
	})
}
