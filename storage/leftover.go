package storage

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// sweepLeftovers removes what a crash left of files that were being written, and
// the reasons of what is not in quarantine. Nothing is being written yet.
func (s *Store) sweepLeftovers() error {
	var errs []error
	for _, dir := range []string{".", index.SnapshotDir, integrity.QuarantineDir} {
		entries, err := s.root.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), volume.Temporary) && !e.IsDir() {
				errs = append(errs, s.root.Remove(path.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(append(errs, integrity.SweepReasons(s.root))...)
}
