package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pullgate/pullgate/storage/internal/index"
)

// leftoverAge is how old a file that is still being written can be at most.
const leftoverAge = time.Hour

// snapshots checks the snapshots of the index.
func (c *tableCheck) snapshots(ctx context.Context) error {
	s := c.store
	names, err := s.keeper.snapshots.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		records, err := s.keeper.snapshots.Read(ctx, name, func(index.Record) error { return nil })
		if errors.Is(err, fs.ErrNotExist) {
			continue // there is a newer one
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.Found(Finding{Kind: FindingSnapshot, Name: name, Reason: err.Error()}, "removed", func() error {
				return s.keeper.snapshots.Remove(name)
			})
			continue
		}
		c.Note(func(r *CheckReport) {
			if r.Snapshots++; r.Snapshots == 1 {
				r.SnapshotTime, r.SnapshotRecords = index.SnapshotMade(name), records
			}
		})
	}
	entries, err := s.home.root.ReadDir(index.SnapshotDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		name := path.Join(index.SnapshotDir, e.Name())
		if info, err := e.Info(); err != nil || strings.HasPrefix(e.Name(), index.SnapshotPrefix) &&
			(strings.HasSuffix(name, index.SnapshotSuffix) || s.now().Sub(info.ModTime()) < leftoverAge) {
			continue
		}
		c.Stray(name, "it is no snapshot")
	}
	return err
}
