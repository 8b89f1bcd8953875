package integrity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// QuarantineDir is where what failed its check lies.
	QuarantineDir    = "quarantine"
	quarantineSuffix = ".bad"
	// The quarantine holds at most so many files and bytes: the newest.
	quarantineFiles = 16
	quarantineBytes = 1 << 30
)

// reason stands beside a blob in quarantine and says why it is there.
type reason struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Reason string        `json:"reason"`
	Time   int64         `json:"time"` // unix seconds
}

// quarantine keeps what failed its check for whoever wants to find out what happened.
type quarantine struct {
	root  volume.Files
	space *volume.Space
	log   *slog.Logger
	now   func() time.Time

	keeping sync.Mutex // held to put something there: how much there is has a bound
}

// keep moves a blob there, with the reason.
func (q *quarantine) keep(i volume.ID, why error) error {
	info, err := q.root.Lstat(i.BlobPath())
	if err != nil {
		return err
	}
	q.keeping.Lock()
	defer q.keeping.Unlock()
	if info.Size() > quarantineBytes || q.space.CheckFloor(0) != nil {
		return errors.New("no room in quarantine")
	}
	if err := q.root.MkdirAll(QuarantineDir, 0o700); err != nil {
		return err
	}
	if err := q.trim(info.Size()); err != nil {
		return err
	}
	name := path.Join(QuarantineDir, q.now().UTC().Format("20060102T150405Z")+"-"+hex.EncodeToString([]byte(i[1:])))
	if err := q.root.Rename(i.BlobPath(), name+quarantineSuffix); err != nil {
		return err
	}
	if err := volume.WriteFile(q.root, name+".json", reason{
		Digest: i.Digest(), Size: info.Size(), Reason: why.Error(), Time: q.now().Unix(),
	}); err != nil {
		q.log.Warn("reason of quarantine not recorded", "digest", i.Digest(), "error", err)
	}
	return nil
}

// trim makes room for one more file of size bytes.
func (q *quarantine) trim(size int64) error {
	entries, err := q.root.ReadDir(QuarantineDir)
	if err != nil {
		return err
	}
	// Sorted by name, which begins with the time. The newest are kept first.
	files := 1
	for _, e := range slices.Backward(entries) {
		stem, ok := strings.CutSuffix(e.Name(), quarantineSuffix)
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if files, size = files+1, size+info.Size(); files <= quarantineFiles && size <= quarantineBytes {
			continue
		}
		// The reason goes first: what is left of a crash is a file that goes the
		// next time.
		for _, name := range []string{stem + ".json", e.Name()} {
			if err := q.root.Remove(path.Join(QuarantineDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("trim quarantine: %w", err)
			}
		}
	}
	return nil
}

// files calls fn for each file in quarantine.
func (q *quarantine) files(fn func(info fs.FileInfo)) error {
	entries, err := entries(q.root, QuarantineDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), quarantineSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil {
			fn(info)
		}
	}
	return nil
}

// entries returns what lies in a directory, if there is one.
func entries(root volume.Files, dir string) ([]fs.DirEntry, error) {
	entries, err := root.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return entries, err
}

// SweepReasons removes the reasons of what is not in quarantine.
func SweepReasons(root volume.Files) error {
	entries, err := entries(root, QuarantineDir)
	bad := make(map[string]bool)
	for _, e := range entries {
		if stem, ok := strings.CutSuffix(e.Name(), quarantineSuffix); ok {
			bad[stem] = true
		}
	}
	errs := []error{err}
	for _, e := range entries {
		if stem, ok := strings.CutSuffix(e.Name(), ".json"); ok && !bad[stem] {
			errs = append(errs, root.Remove(path.Join(QuarantineDir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
