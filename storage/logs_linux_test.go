package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What Badger writes to its log through a mapping has its space before, also
// where it goes on to the next one.
func TestLogsHaveTheirSpace(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	seen := make(map[int64]bool)
	for k := range 120 {
		size := maxValue - 1000
		if k%3 == 0 {
			size = 100
		}
		b, d := content(uint64(k), size)
		if err := s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil); err != nil {
			t.Fatal(err)
		}
		if k%8 > 0 {
			continue
		}
		err := s.index.update(0, func(*batch) error {
			l := &s.index.logs
			if err := l.follow(); err != nil {
				return err
			}
			seen[l.current.number] = true
			return errors.Join(checkLog(t, s, l.current), checkLog(t, s, l.next))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 2 {
		t.Errorf("logs were %v", seen)
	}
}

// checkLog compares what is thought to be written with what is.
func checkLog(t *testing.T, s *Store, l *memLog) error {
	name := filepath.Join(s.path, metaDir, fmt.Sprintf("%05d.mem", l.number))
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	end := int64(len(bytes.TrimRight(raw, "\x00")))
	if end > l.written || l.written > end+end/10+64<<10 {
		return fmt.Errorf("%s has %d bytes, %d are counted", name, end, l.written)
	}
	if got := taken(t, name); l.taken < end || got < l.taken {
		return fmt.Errorf("%s has %d bytes and the space of %d, %d are counted", name, end, got, l.taken)
	}
	return nil
}

// noAllocation are files that no space can be taken for.
type noAllocation struct {
	files
	err error
}

type noSpaceFile struct {
	file
	err error
}

func (f noAllocation) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	opened, err := f.files.OpenFile(name, flag, perm)
	return noSpaceFile{opened, f.err}, err
}

func (f noSpaceFile) allocate(int64) (bool, error) { return false, f.err }

// What has no space in the log of Badger is not written.
func TestNoSpaceForLog(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{syscall.ENOSPC, ErrNoSpace}, {syscall.EDQUOT, ErrNoSpace}, {syscall.EIO, syscall.EIO}, {nil, nil},
	} {
		s := openTest(t, Options{})
		s.index.logs.root = noAllocation{s.root, c.err}
		b, d := content(1, 100)
		for range 2 {
			err := s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil)
			wantErr(t, "put manifest", err, c.want)
		}
		if c.err == nil {
			continue
		}
		_, err := s.Manifest(t.Context(), d)
		wantErr(t, "get manifest", err, fs.ErrNotExist)
		s.index.logs.root = s.root
	}
}
