package index

import (
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// epoch is the hour 0 of useRecords.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// HourOf returns the hour of a use at t.
func HourOf(t time.Time) Use { return Use(max(t.Sub(epoch)/time.Hour, 0)) }

// End returns the end of the hour: until then, the blob may have been in use.
func (r Use) End() time.Time { return epoch.Add(time.Duration(r)*time.Hour + time.Hour) }

// MaxUsesWrite keeps others from waiting long behind one write.
const MaxUsesWrite = 1000

// PutUses records the last uses of blobs.
func (b *Batch) PutUses(used map[volume.ID]Use) error {
	for i, hour := range used {
		if _, known := b.Blob(i); !known {
			continue
		}
		if err := b.Set(TableKey(TableUse, i), hour.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// PutManifestUses records the last uses of manifests.
func (b *Batch) PutManifestUses(used map[volume.ID]Use) error {
	for i, hour := range used {
		if !b.Has(TableKey(TableManifest, i)) {
			continue
		}
		if err := b.Set(TableKey(TableManifestUse, i), hour.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// FirstUse records a use of a manifest that none is recorded of.
func (b *Batch) FirstUse(i volume.ID, hour Use) error {
	key := TableKey(TableManifestUse, i)
	if _, ok := Load(b.Txn, key, DecodeUse); ok {
		return nil
	}
	return b.Put(key, hour.Encode())
}
