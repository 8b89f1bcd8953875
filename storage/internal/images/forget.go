package images

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// forgetAfter is how long what nobody uses is remembered by default, once the blobs
	// that it leads to are gone.
	forgetAfter = 180 * 24 * time.Hour
	// forgetShare is the part of all manifests that one look may take because nobody
	// used them: one that is wrong must not cost everything.
	forgetShare = 4
	// batch is how many records or blobs go in one transaction.
	batch = 200
	// forgetMost is how many manifests one look forgets. The next takes more.
	forgetMost = 50_000
)

// ForgetOptions say what is forgotten when.
type ForgetOptions struct {
	// MaxUnused is how long is kept what nobody uses; 0 = for ever, except what leads to
	// nothing any more.
	MaxUnused time.Duration
	// MaxIndex is about how many bytes the records may have; 0 = DefaultMaxIndex,
	// negative = any number.
	MaxIndex int64
	// Offline are the names of upstreams that are not asked.
	Offline []string
}

// Forgetter drops records that nobody uses. One goroutine at a time calls Forget.
type Forgetter struct {
	Index    *index.Index
	Pins     *Pinning
	Contents Contents
	Log      *slog.Logger
	Now      func() time.Time
	// ClockTrusted reports whether the clock can be believed.
	ClockTrusted func() bool
	// Used reports whether a manifest has a use that is not written down yet.
	Used func(volume.ID) bool

	baseline bool // every manifest has a use
}

// forgetting is one look.
type forgetting struct {
	*Forgetter
	ForgetOptions

	txn    *index.Txn
	pins   Set
	unused time.Time // what was last used before goes; zero = nothing does
	// leading says that what leads to something stays: to a blob that is here, or to a
	// manifest. It is set where nobody has said how long to keep what nobody uses.
	leading bool
	offline offline
	linked  Set                 // the manifests that some scope has
	scopes  map[string]struct{} // the prefixes of keys of links
	dying   []index.Record
	count   int
}

// Forget drops manifests, tags and referrers that nobody used for MaxUnused, or
// confirmed, links as old to what is not stored, and manifests that no scope has a
// link to. What is pinned stays. A manifest that is used keeps its tags. Without
// MaxUnused, that is after forgetAfter only what leads to nothing any more, and nothing
// of an upstream that is offline: it could not be learned again. If the index exceeds its
// limit, what was used the longest ago goes sooner.
func (g *Forgetter) Forget(ctx context.Context, o ForgetOptions) error {
	txn, err := g.Index.Begin()
	if err != nil {
		return err
	}
	defer txn.Discard()
	f := forgetting{Forgetter: g, ForgetOptions: o, txn: txn, linked: Set{}, scopes: make(map[string]struct{})}
	after := o.MaxUnused
	if after <= 0 {
		after, f.leading = forgetAfter, true
		if f.offline, err = scopesOf(ctx, txn, o.Offline); err != nil {
			return err
		}
	}
	if g.ClockTrusted() {
		f.unused = g.Now().Add(-after)
	}
	if f.pins, err = g.Pins.Resolve(ctx, txn); err != nil {
		return err
	}
	if !g.baseline {
		if err := f.addUses(ctx); err != nil {
			return err
		}
		g.baseline = true
	}
	if err := f.shorten(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{f.links, f.manifests, f.tags, f.referrers, f.origins, f.names} {
		if err := errors.Join(step(ctx), f.flush()); err != nil {
			return err
		}
	}
	if f.count > 0 {
		g.Log.Info("forgot what nobody used", "records", f.count)
	}
	return nil
}

// each calls fn for each record of a table.
func (f *forgetting) each(ctx context.Context, table byte, fn func(key, value []byte) error) error {
	return f.txn.Each(ctx, []byte{table}, fn)
}

// addUses gives manifests from before uses were recorded one that is now.
func (f *forgetting) addUses(ctx context.Context) error {
	var missing []volume.ID
	hour := index.HourOf(f.Now())
	flush := func() error {
		some := missing
		missing = nil
		return f.Index.Update(len(some)*index.LinkBytes, func(b *index.Batch) error {
			for _, i := range some {
				if err := b.FirstUse(i, hour); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := f.txn.Keys(ctx, []byte{index.TableManifest}, func(it *index.Iterator) error {
		i := volume.ID(it.Key()[1:])
		if f.txn.Has(index.TableKey(index.TableManifestUse, i)) || !i.Valid() {
			return nil
		}
		if missing = append(missing, i); len(missing) < index.MaxUsesWrite {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// drop drops a record if it still is the one that was looked at, and with a
// manifest its use.
func (f *forgetting) drop(key, value []byte) error {
	f.dying = append(f.dying, index.CopyOf(key, value))
	if len(f.dying) < batch {
		return nil
	}
	return f.flush()
}

func (f *forgetting) flush() error {
	some := f.dying
	f.dying = nil
	if len(some) == 0 {
		return nil
	}
	var count int
	err := f.Index.Update(len(some)*index.LinkBytes, func(b *index.Batch) error {
		count = 0
		for _, r := range some {
			if now, err := b.Get(r.Key); err != nil || !bytes.Equal(now, r.Value) {
				continue
			}
			err := b.Delete(r.Key)
			if r.Key[0] == index.TableManifestUse {
				err = errors.Join(err, b.Delete(index.TableKey(index.TableManifest, volume.ID(r.Key[1:]))))
			}
			if err != nil {
				return err
			}
			count++
		}
		return nil
	})
	if err == nil {
		f.count += count
	}
	return err
}

// links looks at links. That to a blob or manifest that is stored stays, however
// long nobody in its scope asked: the content goes by its own use.
func (f *forgetting) links(ctx context.Context) error {
	return f.each(ctx, index.TableLink, func(key, value []byte) error {
		i, ok := index.ScopedID(key)
		r, intact := index.DecodeLink(value)
		if !ok || !intact {
			return nil
		}
		f.scopes[string(key[:1+index.ScopeLength])] = struct{}{}
		offline := f.offline.has(key)
		if offline {
			f.offline.keep.add(i)
		}
		if f.txn.Has(index.TableKey(index.TableManifest, i)) {
			f.linked.add(i)
			return nil
		}
		if offline || !r.Made.End().Before(f.unused) || f.pins.Has(i) {
			return nil
		}
		if f.txn.Has(index.TableKey(index.TableBlob, i)) {
			return nil
		}
		// It may be one that was not adopted yet.
		if _, err := f.Contents.Root.Lstat(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.drop(key, value)
	})
}

// manifests looks at the uses of manifests. A share goes because nobody used it,
// and all that no scope has.
func (f *forgetting) manifests(ctx context.Context) error {
	var all, old int
	var dying []index.Record
	err := f.each(ctx, index.TableManifestUse, func(key, value []byte) error {
		all++
		i := volume.ID(key[1:])
		used, ok := index.DecodeUse(value)
		switch {
		case !ok || !i.Valid() || f.pins.Has(i) || f.Used(i):
		case !f.linked.Has(i):
			return f.drop(key, value)
		case used.End().Before(f.unused) && old < forgetMost && !f.offline.keep.Has(i):
			leads, err := f.leads(i)
			if err != nil || leads {
				return err
			}
			old++
			dying = append(dying, index.CopyOf(key, value))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range dying[:min(old, (all+forgetShare-1)/forgetShare)] {
		if err := f.drop(r.Key, r.Value); err != nil {
			return err
		}
	}
	return nil
}

// tags looks at tags. One that is asked for is confirmed, or leads to a manifest
// that is used.
func (f *forgetting) tags(ctx context.Context) error {
	return f.each(ctx, index.TableTag, func(key, value []byte) error {
		t, ok := index.DecodeTag(value)
		if !ok || !t.Checked.Before(f.unused) {
			return nil
		}
		i, err := volume.IDOf(t.Digest)
		if err != nil || f.pins.Has(i) || f.Used(i) || f.remembered(i) {
			return nil //nolint:nilerr // decoding has checked the digest
		}
		if scope, ok := index.ScopeOf(key, "", 3); ok && f.offline.names[oci.UpstreamName(scope.Upstream)] {
			return nil
		}
		if used, ok := index.Load(f.txn, index.TableKey(index.TableManifestUse, i), index.DecodeUse); ok && !used.End().Before(f.unused) {
			return nil
		}
		return f.drop(key, value)
	})
}

func (f *forgetting) referrers(ctx context.Context) error {
	return f.each(ctx, index.TableReferrers, func(key, value []byte) error {
		i, ok := index.ScopedID(key)
		r, intact := index.DecodeReferrers(value)
		if !ok || !intact || f.pins.Has(i) || !r.Checked.Before(f.unused) || f.remembered(i) || f.offline.has(key) {
			return nil
		}
		return f.drop(key, value)
	})
}

// origins looks at who has shown to have what. Without the content, that opens nothing.
func (f *forgetting) origins(ctx context.Context) error {
	return f.each(ctx, index.TableOrigin, func(key, value []byte) error {
		i, ok := index.OriginID(key)
		r, intact := index.DecodeOrigin(value)
		if !ok || !intact || !r.Made.End().Before(f.unused) || f.pins.Has(i) {
			return nil
		}
		for _, table := range []byte{index.TableManifest, index.TableBlob} {
			if f.txn.Has(index.TableKey(table, i)) {
				return nil
			}
		}
		if _, err := f.Contents.Root.Lstat(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.drop(key, value)
	})
}

// names looks at the names of scopes.
func (f *forgetting) names(ctx context.Context) error {
	return f.each(ctx, index.TableScope, func(key, _ []byte) error {
		scope, ok := index.ScopeOf(key, "", 2)
		if !ok {
			return nil
		}
		if _, linked := f.scopes[string(index.ScopedPrefix(index.TableLink, scope))]; linked {
			return nil
		}
		return f.Index.Update(len(key), func(b *index.Batch) error { return b.Unname(scope) })
	})
}
