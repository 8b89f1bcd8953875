package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// checkParts checks the parts.
func (s *Store) checkParts(ctx context.Context, c *integrity.Check) error {
	entries, err := s.root.ReadDir(volume.IngestDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
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
			c.Stray(path.Join(volume.IngestDir, e.Name()), "it is no file of a part")
		case !seen[volume.PartNameIn(e.Name())]:
			seen[volume.PartNameIn(e.Name())] = true
			s.checkPart(c, i, volume.PartNameIn(e.Name()))
		}
	}
	return nil
}

func (s *Store) checkPart(c *integrity.Check, i volume.ID, name volume.PartName) {
	running := true
	// What is wrong is mended while no part of the digest can begin.
	err := s.parts.unlessRunning(i, func() error {
		running = false
		if extents, _, err := s.suspended(name, -1); err == nil {
			c.Note(func(r *CheckReport) {
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
		c.Found(f, "removed", func() error { return s.removePart(name) })
		return nil
	})
	if err == nil && running {
		c.Note(func(r *CheckReport) { r.FillsRunning++ })
	}
}
