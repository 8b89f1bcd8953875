package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// leftoverAge is how old a file that is still being written can be at most.
const leftoverAge = time.Hour

// leftovers checks what is neither blobs nor index.
func (c *checker) leftovers(ctx context.Context) error {
	for _, one := range []func(context.Context) error{c.ingest, c.quarantine, c.snapshots} {
		if err := c.within(func() error { return one(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// entries returns what lies in a directory, if there is one.
func (c *checker) entries(dir string) ([]fs.DirEntry, error) {
	entries, err := c.store.root.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return entries, err
}

// ingest checks the parts.
func (c *checker) ingest(ctx context.Context) error {
	entries, err := c.entries(volume.IngestDir)
	if err != nil {
		return err
	}
	seen := make(map[volume.PartName]bool)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		i, err := volume.IDOfIngest(e.Name())
		switch {
		case err != nil:
			c.stray(path.Join(volume.IngestDir, e.Name()), "it is no file of a part")
		case !seen[volume.PartNameIn(e.Name())]:
			seen[volume.PartNameIn(e.Name())] = true
			c.part(i, volume.PartNameIn(e.Name()))
		}
	}
	return nil
}

func (c *checker) part(i volume.ID, name volume.PartName) {
	s := c.store
	running := true
	// What is wrong is mended while no part of the digest can begin.
	err := s.parts.unlessRunning(i, func() error {
		running = false
		if extents, _, err := s.suspended(name, -1); err == nil {
			c.note(func(r *CheckReport) {
				r.FillsSuspended++
				for _, e := range extents {
					r.SuspendedBytes += e.End - e.Start
				}
			})
			return nil
		}
		_, part := s.root.Lstat(name.PartPath())
		_, sidecar := s.root.Lstat(name.SidecarPath())
		if errors.Is(part, fs.ErrNotExist) && errors.Is(sidecar, fs.ErrNotExist) {
			if _, err := s.root.Lstat(name.SidecarPath() + volume.Temporary); errors.Is(err, fs.ErrNotExist) {
				return nil // it ended since the directory was read
			}
		}
		f := Finding{Kind: FindingPart, Digest: i.Digest(), Name: name.PartPath(), Reason: "it does not hold what was written down about it"}
		switch {
		case errors.Is(part, fs.ErrNotExist):
			f.Name, f.Reason = name.SidecarPath(), "there is no part"
		case errors.Is(sidecar, fs.ErrNotExist):
			f.Reason = "nobody knows what it holds"
		}
		c.found(f, "removed", func() error { return s.removePart(name) })
		return nil
	})
	if err == nil && running {
		c.note(func(r *CheckReport) { r.FillsRunning++ })
	}
}

// quarantine counts what was taken out of use.
func (c *checker) quarantine(context.Context) error {
	entries, err := c.entries(quarantineDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), quarantineSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil {
			c.note(func(r *CheckReport) {
				r.Quarantined++
				r.QuarantinedBytes += info.Size()
			})
		}
	}
	return nil
}

// snapshots checks the snapshots of the index.
func (c *checker) snapshots(ctx context.Context) error {
	s := c.store
	names, err := s.snapshots.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		records, err := s.snapshots.Read(ctx, name, func(index.Record) error { return nil })
		if errors.Is(err, fs.ErrNotExist) {
			continue // there is a newer one
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.found(Finding{Kind: FindingSnapshot, Name: name, Reason: err.Error()}, "removed", func() error {
				return s.snapshots.Remove(name)
			})
			continue
		}
		c.note(func(r *CheckReport) {
			if r.Snapshots++; r.Snapshots == 1 {
				r.SnapshotTime, r.SnapshotRecords = index.SnapshotMade(name), records
			}
		})
	}
	entries, err := c.entries(index.SnapshotDir)
	for _, e := range entries {
		name := path.Join(index.SnapshotDir, e.Name())
		if info, err := e.Info(); err != nil || strings.HasPrefix(e.Name(), index.SnapshotPrefix) &&
			(strings.HasSuffix(name, index.SnapshotSuffix) || s.now().Sub(info.ModTime()) < leftoverAge) {
			continue
		}
		c.stray(name, "it is no snapshot")
	}
	return err
}
