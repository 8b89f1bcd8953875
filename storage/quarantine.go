package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	quarantineDir    = "quarantine"
	quarantineSuffix = ".bad"
	quarantineTime   = "20060102T150405Z"
	// The quarantine holds at most so many files and bytes: the newest.
	quarantineFiles = 16
	quarantineBytes = 1 << 30
)

// quarantined stands beside a blob in quarantine and says why it is there.
type quarantined struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Reason string        `json:"reason"`
	Time   int64         `json:"time"` // unix seconds
}

// quarantine takes a blob that is not what its name says out of use, and keeps
// it for whoever wants to find out what happened. One that does not fit there,
// or on a disk without space to spare, is removed. One that cannot be removed
// either is condemned, and looked at again later. It reports false if the file is
// not the one that was found to be damaged any more; nil = whichever is there.
func (s *Store) quarantine(i volume.ID, found fs.FileInfo, reason error) bool {
	s.placing.Lock()
	defer s.placing.Unlock()
	var left error // nil = the file is not there any more
	if found != nil {
		if left = s.unchanged(i, found); errors.Is(left, fs.ErrNotExist) {
			return false
		}
	}
	if s.suspects.condemn(i) {
		s.log.Error("blob is damaged and taken out of use", "digest", i.Digest(), "error", reason)
		s.usage.quarantined.Add(1)
	}
	if left == nil {
		if err := s.moveAside(i, reason); err != nil {
			left = s.unlinkBlob(i)
			s.log.Warn("damaged blob not kept", "digest", i.Digest(), "error", err)
		}
	}
	s.dropRecord(i)
	if left == nil {
		s.suspects.absolve(i)
	} else {
		s.log.Warn("damaged blob is left in its place", "digest", i.Digest(), "error", left)
		s.recheckSoon()
	}
	return true
}

func (s *Store) moveAside(i volume.ID, reason error) error {
	info, err := s.root.Lstat(i.BlobPath())
	if err != nil {
		return err
	}
	if info.Size() > quarantineBytes || s.space.CheckFloor(0) != nil {
		return errors.New("no room in quarantine")
	}
	if err := s.root.MkdirAll(quarantineDir, 0o700); err != nil {
		return err
	}
	if err := s.trimQuarantine(info.Size()); err != nil {
		return err
	}
	name := path.Join(quarantineDir, s.now().UTC().Format(quarantineTime)+"-"+hex.EncodeToString([]byte(i[1:])))
	if err := s.root.Rename(i.BlobPath(), name+quarantineSuffix); err != nil {
		return err
	}
	if err := volume.WriteFile(s.root, name+".json", quarantined{
		Digest: i.Digest(), Size: info.Size(), Reason: reason.Error(), Time: s.now().Unix(),
	}); err != nil {
		s.log.Warn("reason of quarantine not recorded", "digest", i.Digest(), "error", err)
	}
	return nil
}

// trimQuarantine makes room for one more file of size bytes.
func (s *Store) trimQuarantine(size int64) error {
	entries, err := s.root.ReadDir(quarantineDir)
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
			if err := s.root.Remove(path.Join(quarantineDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("trim quarantine: %w", err)
			}
		}
	}
	return nil
}
