package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// tableStep is how many records are looked at in one transaction: a store that
// closes waits for no more.
const tableStep = 500

// tableCheck is the part of a check that looks at the index.
type tableCheck struct {
	*integrity.Check

	store *Store
}

// index checks whether the index is open and can be read. If not, nothing is made
// of what it does not know.
func (c *tableCheck) index(ctx context.Context) (readable bool, err error) {
	s := c.store
	if s.db.Load() != nil {
		select {
		case <-s.restored: // or else much is missing
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	err = s.life.Within(func() error {
		f := Finding{Kind: FindingIndex, Name: volume.MetaDir}
		db := s.db.Load()
		if db == nil {
			f.Reason = ErrNoIndex.Error()
			if text := s.usage.indexError.Load(); text != nil {
				f.Reason = *text
			}
			c.Note(func(r *CheckReport) { r.Add(f) })
			return nil
		}
		err := s.indexGone()
		if err == nil {
			err = verify(db)
		}
		if readable = err == nil; readable {
			if n := s.usage.indexRebuilds.Load(); n > 0 && c.Repair && s.quiet {
				f.Reason, f.Done = *s.usage.indexError.Load(), "begun anew"
				c.Note(func(r *CheckReport) { r.Add(f) })
			}
			return nil
		}
		f.Reason = err.Error()
		c.Note(func(r *CheckReport) { r.Add(f) })
		if c.Repair {
			s.noteDamage(err)
		}
		return nil
	})
	return readable, err
}

// tables checks what the index knows beside the blobs.
func (c *tableCheck) tables(ctx context.Context) error {
	for table, fn := range map[byte]func(*Txn, []byte, []byte){
		tableManifest: c.manifest, tableTag: c.tag, tableScope: c.scope, tablePin: c.pin, tableLink: c.link, tableReferrers: c.referrers,
		tableOrigin: c.origin,
	} {
		if err := c.store.eachRecord(ctx, table, fn); err != nil {
			return err
		}
	}
	return nil
}

// eachRecord calls fn for each record of a table, within the life of the store.
func (s *Store) eachRecord(ctx context.Context, table byte, fn func(txn *Txn, key, value []byte)) error {
	for from := []byte{table}; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.life.Within(func() error {
			txn, err := s.begin()
			if err != nil {
				return err
			}
			defer txn.Discard()
			some, next, err := txn.Step([]byte{table}, from, true, tableStep)
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
	err := c.store.index.update(len(key), func(b *batch) error {
		now, err := b.Get(key)
		if changed = errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(now, value); changed || err != nil {
			return nil //nolint:nilerr // it is another record, or one that cannot be told to be this one
		}
		return b.delete(key)
	})
	if err == nil && changed {
		err = integrity.ErrInOrder
	}
	return err
}

func (c *tableCheck) manifest(_ *Txn, key, value []byte) {
	i := volume.ID(key[1:])
	r, ok := decodeManifest(value)
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
		if r.external && errors.Is(err, integrity.ErrDigest) {
			c.store.judge.Quarantine(i, nil, err)
		}
		return c.drop(key, value)
	})
}

// proveManifest returns what is wrong with a manifest.
func (c *tableCheck) proveManifest(i volume.ID, r manifestRecord) error {
	if r.external {
		f, err := c.store.root.Open(i.BlobPath())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return errors.New("its bytes are not among the blobs")
		case integrity.Exhausted(err):
			return nil
		case err != nil:
			return err
		}
		defer f.Close()
		if r.bytes, err = io.ReadAll(io.LimitReader(f, oci.MaxManifestSize+1)); err != nil {
			return err
		}
	}
	if !oci.Verify(i.Digest(), r.bytes) {
		return integrity.ErrDigest
	}
	return nil
}

func (c *tableCheck) tag(txn *Txn, key, value []byte) {
	names := strings.Split(string(key[1:]), "\x00")
	t, ok := decodeTag(value)
	if !ok || len(names) != 3 {
		c.unreadable(fmt.Sprintf("tag %s", tagName(names)), "", key, value)
		return
	}
	i, err := volume.IDOf(t.Digest)
	stored := err == nil && txn.Has(tableKey(tableManifest, i))
	c.Note(func(r *CheckReport) {
		r.Tags++
		if !stored {
			r.TagsWithoutManifest++
		}
	})
}

func (c *tableCheck) scope(_ *Txn, key, value []byte) {
	names := strings.Split(string(key[1:]), "\x00")
	if _, intact := decodeUse(value); !intact || len(names) != 2 {
		c.unreadable(fmt.Sprintf("scope %q", strings.Join(names, "/")), "", key, value)
	}
}

func (c *tableCheck) pin(_ *Txn, key, value []byte) {
	if _, intact := decodePin(value); !intact {
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

func (c *tableCheck) link(_ *Txn, key, value []byte) {
	i, ok := scopedID(key)
	if _, intact := decodeLink(value); !intact || !ok {
		c.unreadable("link", i, key, value)
		return
	}
	c.Note(func(r *CheckReport) { r.Links++ })
}

func (c *tableCheck) referrers(_ *Txn, key, value []byte) {
	i, ok := scopedID(key)
	if _, intact := decodeReferrers(value); !intact || !ok {
		c.unreadable("referrers", i, key, value)
		return
	}
	c.Note(func(r *CheckReport) { r.Referrers++ })
}

func (c *tableCheck) origin(_ *Txn, key, value []byte) {
	i, ok := originID(key)
	if _, intact := decodeOrigin(value); !intact || !ok {
		c.unreadable("origin", i, key, value)
	}
}

// scopedID returns the id in a key of scopedKey.
func scopedID(key []byte) (volume.ID, bool) {
	if len(key) < 1+scopeLength {
		return "", false
	}
	i := volume.ID(key[1+scopeLength:])
	return i, i.Valid()
}
