package images

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// DefaultMaxIndex is Limits.MaxIndex where that is 0: millions of manifests and links.
const DefaultMaxIndex = 2 << 30

// sizedTables are those that grow with what clients ask for.
var sizedTables = []byte{index.TableManifest, index.TableManifestUse, index.TableLink, index.TableTag, index.TableReferrers, index.TableOrigin}

// unwritten is about what Badger has in memory beside its tables.
const unwritten = 40 << 20

// Crowded reports whether the index may exceed its limit, as ForgetOptions have it: its
// tables also have, for a while, what was deleted.
func (g *Forgetter) Crowded(limit int64) bool {
	most := maxIndex(limit)
	tables, _ := g.Index.Size()
	return g.Index.IsOpen() && most >= 0 && tables+unwritten > most
}

func maxIndex(limit int64) int64 { return cmp.Or(limit, DefaultMaxIndex) }

// shorten makes the memory of an index that is too large so short that what is forgotten
// brings it below its limit: what has been without use for the longest goes, whether or
// not it leads to something.
func (f *forgetting) shorten(ctx context.Context) error {
	if !f.Crowded(f.MaxIndex) {
		return nil
	}
	size, err := SizeOf(ctx, f.txn)
	most := maxIndex(f.MaxIndex)
	if err != nil || size <= most {
		return err
	}
	byHour := make(map[index.Use]int64)
	for _, count := range []func(context.Context, map[index.Use]int64) error{f.countLinks, f.countManifests, f.countOrigins, f.countTags} {
		if err := count(ctx, byHour); err != nil {
			return err
		}
	}
	excess := size - most + most/10
	for _, hour := range slices.Sorted(maps.Keys(byHour)) {
		if excess -= byHour[hour]; excess > 0 {
			continue
		}
		// The end of the hour itself is not before that.
		if end := hour.End().Add(1); f.unused.Before(end) {
			f.unused, f.leading = end, false
		}
		break
	}
	f.Log.Warn("the index exceeds its limit, forgetting what was not used since",
		"bytes", size, "limit", most, "since", f.unused)
	return nil
}

// SizeOf returns how many bytes the records of the sized tables have.
func SizeOf(ctx context.Context, txn *index.Txn) (size int64, err error) {
	for _, table := range sizedTables {
		if err := txn.Keys(ctx, []byte{table}, func(it *index.Iterator) error { size += it.Size(); return nil }); err != nil {
			return 0, err
		}
	}
	return size, nil
}

func (f *forgetting) countManifests(ctx context.Context, byHour map[index.Use]int64) error {
	return f.each(ctx, index.TableManifestUse, func(key, value []byte) error {
		i := volume.ID(key[1:])
		used, ok := index.DecodeUse(value)
		if !ok || !i.Valid() || f.pins.Has(i) || f.offline.keep.Has(i) {
			return nil
		}
		byHour[used] += int64(len(key)+len(value)) + f.txn.Size(index.TableKey(index.TableManifest, i))
		return nil
	})
}

// countLinks counts the links that lead to nothing that is stored, and notes what
// belongs to upstreams that are not asked.
func (f *forgetting) countLinks(ctx context.Context, byHour map[index.Use]int64) error {
	return f.each(ctx, index.TableLink, func(key, value []byte) error {
		i, ok := index.ScopedID(key)
		r, intact := index.DecodeLink(value)
		switch {
		case !ok || !intact || f.pins.Has(i):
		case f.offline.has(key):
			f.offline.keep.add(i)
		case !f.stored(i, index.TableManifest) && !f.stored(i, index.TableBlob):
			byHour[r.Made] += int64(len(key) + len(value))
		}
		return nil
	})
}

// countOrigins counts who has shown to have what is not stored.
func (f *forgetting) countOrigins(ctx context.Context, byHour map[index.Use]int64) error {
	return f.each(ctx, index.TableOrigin, func(key, value []byte) error {
		i, ok := index.OriginID(key)
		r, intact := index.DecodeOrigin(value)
		if ok && intact && !f.pins.Has(i) && !f.stored(i, index.TableManifest) && !f.stored(i, index.TableBlob) {
			byHour[r.Made] += int64(len(key) + len(value))
		}
		return nil
	})
}

func (f *forgetting) countTags(ctx context.Context, byHour map[index.Use]int64) error {
	err := f.each(ctx, index.TableTag, func(key, value []byte) error {
		if t, ok := index.DecodeTag(value); ok {
			byHour[index.HourOf(t.Checked)] += int64(len(key) + len(value))
		}
		return nil
	})
	return cmp.Or(err, f.each(ctx, index.TableReferrers, func(key, value []byte) error {
		if r, ok := index.DecodeReferrers(value); ok && !f.offline.has(key) {
			byHour[index.HourOf(r.Checked)] += int64(len(key) + len(value))
		}
		return nil
	}))
}
