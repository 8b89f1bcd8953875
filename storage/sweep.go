package storage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// sweep removes parts that are neither running nor were suspended after
// the given time, and whatever else lies in the directory.
func (ps *parts) sweep(before time.Time) error {
	entries, err := ps.files.root.ReadDir(volume.IngestDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		i, err := volume.IDOfIngest(e.Name())
		if err != nil {
			errs = append(errs, ps.files.root.RemoveAll(path.Join(volume.IngestDir, e.Name())))
			continue
		}
		errs = append(errs, ps.unlessRunning(i, func() error {
			if strings.HasSuffix(e.Name(), volume.Temporary) {
				return ps.files.root.Remove(path.Join(volume.IngestDir, e.Name()))
			}
			name := volume.PartNameIn(e.Name())
			// One of a time to come is as good as of now.
			if c, err := ps.held(name, -1); err == nil && min(c.Suspended, ps.now().Unix()) > before.Unix() {
				return nil
			}
			return ps.remove(name)
		}))
	}
	return errors.Join(errs...)
}

// check checks the parts.
func (ps *parts) check(ctx context.Context, c *integrity.Check) error {
	entries, err := ps.files.root.ReadDir(volume.IngestDir)
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
			ps.checkPart(c, i, volume.PartNameIn(e.Name()))
		}
	}
	return nil
}

func (ps *parts) checkPart(c *integrity.Check, i volume.ID, name volume.PartName) {
	running := true
	// What is wrong is mended while no part of the digest can begin.
	err := ps.unlessRunning(i, func() error {
		running = false
		if held, err := ps.held(name, -1); err == nil {
			c.Note(func(r *CheckReport) {
				r.FillsSuspended++
				r.SuspendedBytes += held.Covered.Total()
			})
			return nil
		}
		_, part := ps.files.root.Lstat(name.PartPath())
		_, sidecar := ps.files.root.Lstat(name.SidecarPath())
		if errors.Is(part, fs.ErrNotExist) && errors.Is(sidecar, fs.ErrNotExist) {
			if _, err := ps.files.root.Lstat(name.SidecarPath() + volume.Temporary); errors.Is(err, fs.ErrNotExist) {
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
		c.Found(f, "removed", func() error { return ps.remove(name) })
		return nil
	})
	if err == nil && running {
		c.Note(func(r *CheckReport) { r.FillsRunning++ })
	}
}
