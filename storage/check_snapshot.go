package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// leftoverAge is how old a file that is still being written can be at most.
const leftoverAge = time.Hour

// snapshots checks the snapshots of the index.
func (c *tableCheck) snapshots(ctx context.Context) error {
	s := c.store
	names, err := s.snapshots()
	if err != nil {
		return err
	}
	for _, name := range names {
		records, err := s.readSnapshot(ctx, name, func(Record) error { return nil })
		if errors.Is(err, fs.ErrNotExist) {
			continue // there is a newer one
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.Found(Finding{Kind: FindingSnapshot, Name: name, Reason: err.Error()}, "removed", func() error {
				// As if something had changed: the next one is written soon.
				s.index.changes.Add(1)
				return s.root.Remove(name)
			})
			continue
		}
		c.Note(func(r *CheckReport) {
			if r.Snapshots++; r.Snapshots == 1 {
				r.SnapshotTime, r.SnapshotRecords = snapshotMade(name), records
			}
		})
	}
	entries, err := s.root.ReadDir(snapshotDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		name := path.Join(snapshotDir, e.Name())
		if info, err := e.Info(); err != nil || strings.HasPrefix(e.Name(), snapshotPrefix) &&
			(strings.HasSuffix(name, snapshotSuffix) || s.now().Sub(info.ModTime()) < leftoverAge) {
			continue
		}
		c.Stray(name, "it is no snapshot")
	}
	return err
}

// snapshotMade returns when a snapshot was made, by its name; zero = unknown.
func snapshotMade(name string) time.Time {
	stamp := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), snapshotPrefix), snapshotSuffix)
	made, err := time.Parse(snapshotTime, stamp)
	if err != nil {
		return time.Time{}
	}
	return made
}
