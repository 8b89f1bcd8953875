package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// home is the directory of a store, and what is known of it.
type home struct {
	path    string
	root    volume.Files
	lock    volume.File // nil = it is not locked
	layout  *layout
	space   *volume.Space
	state   *volume.StateFile
	ballast *volume.Ballast
	ledger  *volume.Ledger // what it holds
}

// close lets go of the directory, the lock last.
func (h *home) close() error {
	err := errors.Join(h.state.Close(), h.root.Close())
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
	}
	return err
}

// readState reads what the last run has written down.
func (h *home) readState() error {
	// Without VERSION, it would make the directory one that is not ours.
	if _, err := h.root.Lstat(volume.VersionFile); err != nil {
		return nil //nolint:nilerr // it is read once the directory is complete
	}
	return h.state.Open(h.root)
}

// sweepLeftovers removes what a crash left of files that were being written, and
// the reasons of what is not in quarantine. Nothing is being written yet.
func (h *home) sweepLeftovers() error {
	var errs []error
	for _, dir := range []string{".", index.SnapshotDir, integrity.QuarantineDir} {
		entries, err := h.root.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), volume.Temporary) && !e.IsDir() {
				errs = append(errs, h.root.Remove(path.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(append(errs, integrity.SweepReasons(h.root))...)
}

// writable returns why an index could not be written: too little space, or no new
// file can be made.
func (h *home) writable() error {
	h.space.Forget()
	if err := h.space.CheckReserve(); err != nil {
		return err
	}
	// What else lies in this directory is swept away.
	name := path.Join(volume.IngestDir, "probe"+volume.Temporary)
	return h.layout.within(func() error {
		f, err := h.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("make a file: %w", err)
		}
		return errors.Join(f.Close(), h.root.Remove(name))
	})
}
