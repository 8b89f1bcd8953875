package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

var errEmpty = errors.New("file is empty")

// blob checks a file that is named as a blob, with the record it had when the
// directory was read.
func (c *checker) blob(ctx context.Context, i volume.ID, r *index.Blob) error {
	var info fs.FileInfo
	var odd Finding
	err := c.within(func() (err error) {
		if info, err = c.store.root.Lstat(i.BlobPath()); err == nil && c.indexed && (r == nil || r.Size != info.Size()) {
			odd = c.odd(i, info)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // evicted since
	}
	if err != nil {
		return err
	}
	empty := info.Size() == 0
	var bytes int64
	var damage error
	read := c.Verify || empty || odd.Kind != "" && c.Repair
	if read {
		if bytes, damage, err = c.read(ctx, i); err != nil {
			return err
		}
	}
	if damage != nil && empty {
		damage = errEmpty
	}
	if err := c.within(func() error { c.judge(i, info, odd, read, damage); return nil }); err != nil {
		return err
	}
	c.advance(1, info.Size()-bytes)
	return nil
}

// odd reports whether a file and its record do not go together, now that nothing
// is done to either. The store is entered.
func (c *checker) odd(i volume.ID, info fs.FileInfo) (f Finding) {
	if !c.store.going.still(i, func() { f = c.compare(i, info) }) {
		return Finding{}
	}
	return f
}

func (c *checker) compare(i volume.ID, info fs.FileInfo) (f Finding) {
	s := c.store
	if s.parts.has(i) {
		return f // a fill that puts its blob in place records it next
	}
	r, known := s.index.Blob(i)
	f = Finding{Digest: i.Digest(), Name: i.BlobPath()}
	switch {
	case s.unchanged(i, info) != nil:
	case !known:
		f.Kind, f.Reason = FindingUnrecorded, "the index does not know it"
	case r.Size != info.Size():
		f.Kind, f.Reason = FindingSize, fmt.Sprintf("it has %d bytes, %d are recorded", info.Size(), r.Size)
	}
	return f
}

// read hashes the file of a blob, and returns how much it read and what is wrong
// with it. An error means that this could not be found out.
func (c *checker) read(ctx context.Context, i volume.ID) (bytes int64, damage, err error) {
	var f volume.File
	err = c.within(func() (err error) { f, err = c.store.root.Open(i.BlobPath()); return err })
	if err == nil {
		counted := &countedReads{File: f, each: func(n int64) { bytes += n; c.advance(0, n) }}
		damage = match(ctx, counted, i, c.pace)
		f.DropPages()
		f.Close()
	} else {
		damage = err
	}
	switch {
	case ctx.Err() != nil:
		return bytes, nil, ctx.Err()
	case errors.Is(err, ErrClosed), errors.Is(damage, fs.ErrPermission), exhausted(damage):
		return bytes, nil, damage
	}
	return bytes, damage, nil
}

// countedReads tells how much is read.
type countedReads struct {
	volume.File
	each func(n int64)
}

func (r *countedReads) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.File.ReadAt(b, off)
	r.each(int64(n))
	return n, err
}

// judge decides on a blob. The store is entered.
func (c *checker) judge(i volume.ID, info fs.FileInfo, odd Finding, read bool, damage error) {
	s := c.store
	if damage != nil {
		if errors.Is(s.unchanged(i, info), fs.ErrNotExist) {
			return
		}
		done := "quarantined"
		if info.Size() == 0 {
			done = "removed"
		}
		c.found(Finding{Kind: FindingDamaged, Digest: i.Digest(), Name: i.BlobPath(), Reason: damage.Error()}, done, func() error {
			return c.takeOut(i, info, damage)
		})
		return
	}
	if odd.Kind != "" {
		done := "adopted"
		if odd.Kind == FindingSize {
			done = "record corrected"
		}
		c.found(odd, done, func() error {
			// It is as old as its file.
			err := s.record(i, info, info.ModTime())
			if errors.Is(err, fs.ErrNotExist) {
				return errNotOdd
			}
			return err
		})
		if !c.Repair {
			return
		}
	}
	if read && c.Repair && c.indexed && s.suspects.doubt(i, info, true) {
		s.suspects.trust(i)
	}
	c.note(func(r *CheckReport) {
		r.Blobs++
		r.Bytes += info.Size()
		if read {
			r.Verified++
		}
	})
}

// takeOut takes a damaged blob out of use.
func (c *checker) takeOut(i volume.ID, info fs.FileInfo, damage error) error {
	s := c.store
	if errors.Is(s.unchanged(i, info), fs.ErrNotExist) {
		return errNotOdd
	}
	if info.Size() > 0 {
		s.quarantine(i, info, damage)
	} else if err := s.unlinkBlob(i); err != nil {
		return err
	}
	s.suspects.forget(i)
	if _, err := c.dropMissing(i); err != nil && !errors.Is(err, ErrNoIndex) {
		return err
	}
	return nil
}

// missing reports a record whose blob has no file. The store is entered.
func (c *checker) missing(i volume.ID) {
	s := c.store
	f := Finding{Kind: FindingMissing, Reason: "there is no file"}
	if i.Valid() {
		f.Digest, f.Name = i.Digest(), i.BlobPath()
		var lerr, gerr error
		still := s.going.still(i, func() {
			_, lerr = s.root.Lstat(i.BlobPath())
			_, gerr = s.index.Get(index.TableKey(index.TableBlob, i))
		})
		if !still || !errors.Is(lerr, fs.ErrNotExist) || errors.Is(gerr, fs.ErrNotExist) {
			return
		}
	}
	c.found(f, "record dropped", func() error {
		dropped, err := c.dropMissing(i)
		if err == nil && !dropped {
			err = errNotOdd
		}
		return err
	})
}

// dropMissing drops the records of a blob that has no file, and reports whether
// it did.
func (c *checker) dropMissing(i volume.ID) (dropped bool, err error) {
	s := c.store
	err = s.index.Update(index.LinkBytes, func(b *index.Batch) error {
		dropped = false
		if !b.Has(index.TableKey(index.TableBlob, i)) {
			return nil //nolint:nilerr // there is none
		}
		if i.Valid() {
			if _, err := s.root.Lstat(i.BlobPath()); !errors.Is(err, fs.ErrNotExist) {
				return nil // there is a file again, as far as anybody can tell
			}
		}
		dropped = true
		return b.DropBlob(i)
	})
	return dropped, err
}

// has reports whether a part of the digest is running.
func (ps *parts) has(i volume.ID) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	_, ok := ps.running[i]
	return ok
}
