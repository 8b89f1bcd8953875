package storage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// tableCheck is the part of a check that looks at the index.
type tableCheck struct {
	*integrity.Check

	store *Store
}

// index checks whether the index is open and can be read. If not, nothing is made
// of what it does not know.
func (c *tableCheck) index(ctx context.Context) (readable bool, err error) {
	s := c.store
	if s.index.IsOpen() {
		select {
		case <-s.keeper.restored: // or else much is missing
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	err = s.life.Within(context.Background(), func() error {
		f := Finding{Kind: FindingIndex, Name: volume.MetaDir}
		if !s.index.IsOpen() {
			f.Reason = cmp.Or(s.index.Trouble(), ErrNoIndex.Error())
			c.Note(func(r *CheckReport) { r.Add(f) })
			return nil
		}
		err := s.index.Examine()
		if readable = err == nil; readable {
			if n := s.index.Rebuilds(); n > 0 && c.Repair && s.keeper.quiet {
				f.Reason, f.Done = s.index.Trouble(), "begun anew"
				c.Note(func(r *CheckReport) { r.Add(f) })
			}
			return nil
		}
		f.Reason = err.Error()
		c.Note(func(r *CheckReport) { r.Add(f) })
		if c.Repair {
			s.index.NoteDamage(err)
		}
		return nil
	})
	return readable, err
}

// tables checks what the index knows beside the blobs.
func (c *tableCheck) tables(ctx context.Context) error {
	for table, fn := range map[byte]func(*index.Txn, []byte, []byte){
		index.TableManifest: c.manifest, index.TableTag: c.tag, index.TableScope: c.scope, index.TablePin: c.pin, index.TableLink: c.link, index.TableReferrers: c.referrers,
		index.TableOrigin: c.origin,
	} {
		if err := c.store.index.EachRecord(ctx, table, fn); err != nil {
			return err
		}
	}
	return nil
}

// unreadable reports a record that is not intact.
func (c *tableCheck) unreadable(name string, i volume.ID, key, value []byte) {
	f := Finding{Kind: FindingRecord, Name: name, Reason: "the record is damaged or of an unknown version"}
	if i.Valid() {
		f.Digest = i.Digest()
	}
	c.Found(f, "dropped", func() error { return c.drop(key, value) })
}

// drop drops a record that still is what it was when it was looked at.
func (c *tableCheck) drop(key, value []byte) error {
	changed := false
	err := c.store.index.Update(len(key), func(b *index.Batch) error {
		now, err := b.Get(key)
		if changed = errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(now, value); changed || err != nil {
			return nil //nolint:nilerr // it is another record, or one that cannot be told to be this one
		}
		return b.Delete(key)
	})
	if err == nil && changed {
		err = integrity.ErrInOrder
	}
	return err
}

func (c *tableCheck) manifest(_ *index.Txn, key, value []byte) {
	i := volume.ID(key[1:])
	r, ok := index.DecodeManifest(value)
	if !ok || !i.Valid() {
		c.unreadable("manifest", i, key, value)
		return
	}
	err := c.proveManifest(i, r)
	if err == nil {
		c.Note(func(r *CheckReport) { r.Manifests++ })
		return
	}
	c.Found(Finding{Kind: FindingManifest, Digest: i.Digest(), Name: "manifest", Reason: err.Error()}, "dropped", func() error {
		if r.External && errors.Is(err, integrity.ErrDigest) {
			c.store.judge.Quarantine(i, nil, err)
		}
		return c.drop(key, value)
	})
}

// proveManifest returns what is wrong with a manifest.
func (c *tableCheck) proveManifest(i volume.ID, r index.Manifest) error {
	if r.External {
		f, err := c.store.home.root.Open(i.BlobPath())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return errors.New("its bytes are not among the blobs")
		case integrity.Exhausted(err):
			return nil
		case err != nil:
			return err
		}
		defer f.Close()
		if r.Bytes, err = io.ReadAll(io.LimitReader(f, oci.MaxManifestSize+1)); err != nil {
			return err
		}
	}
	if !oci.Verify(i.Digest(), r.Bytes) {
		return integrity.ErrDigest
	}
	return nil
}

func (c *tableCheck) tag(txn *index.Txn, key, value []byte) {
	names := strings.Split(string(key[1:]), "\x00")
	t, ok := index.DecodeTag(value)
	if !ok || len(names) != 3 {
		c.unreadable(fmt.Sprintf("tag %s", tagName(names)), "", key, value)
		return
	}
	i, err := volume.IDOf(t.Digest)
	stored := err == nil && txn.Has(index.TableKey(index.TableManifest, i))
	c.Note(func(r *CheckReport) {
		r.Tags++
		if !stored {
			r.TagsWithoutManifest++
		}
	})
}

func (c *tableCheck) scope(_ *index.Txn, key, value []byte) {
	names := strings.Split(string(key[1:]), "\x00")
	if _, intact := index.DecodeUse(value); !intact || len(names) != 2 {
		c.unreadable(fmt.Sprintf("scope %q", strings.Join(names, "/")), "", key, value)
	}
}

func (c *tableCheck) pin(_ *index.Txn, key, value []byte) {
	if _, intact := index.DecodePin(value); !intact {
		c.unreadable(fmt.Sprintf("pin %q", key[1:]), "", key, value)
	}
}

// tagName returns the upstream, repository and tag of a key as people write them.
func tagName(names []string) string {
	if len(names) != 3 {
		return fmt.Sprintf("%q", strings.Join(names, "\x00"))
	}
	return names[0] + "/" + names[1] + ":" + names[2]
}

func (c *tableCheck) link(_ *index.Txn, key, value []byte) {
	i, ok := index.ScopedID(key)
	if _, intact := index.DecodeLink(value); !intact || !ok {
		c.unreadable("link", i, key, value)
		return
	}
	c.Note(func(r *CheckReport) { r.Links++ })
}

func (c *tableCheck) referrers(_ *index.Txn, key, value []byte) {
	i, ok := index.ScopedID(key)
	if _, intact := index.DecodeReferrers(value); !intact || !ok {
		c.unreadable("referrers", i, key, value)
		return
	}
	c.Note(func(r *CheckReport) { r.Referrers++ })
}

func (c *tableCheck) origin(_ *index.Txn, key, value []byte) {
	i, ok := index.OriginID(key)
	if _, intact := index.DecodeOrigin(value); !intact || !ok {
		c.unreadable("origin", i, key, value)
	}
}
