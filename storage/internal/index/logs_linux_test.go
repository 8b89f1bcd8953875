package index

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What Badger writes to its log through a mapping has its space before, also
// where it goes on to the next one.
func TestLogsHaveTheirSpace(t *testing.T) {
	t.Parallel()
	x := openTest(t, nil)
	seen := make(map[int64]bool)
	for k := range 120 {
		size := MaxValue - 1000
		if k%3 == 0 {
			size = 100
		}
		putBytes(t, x, k, size)
		if k%8 > 0 {
			continue
		}
		err := x.Update(0, func(*Batch) error {
			l := &x.logs
			if err := l.follow(); err != nil {
				return err
			}
			seen[l.current.number] = true
			return errors.Join(checkLog(t, x, l.current), checkLog(t, x, l.next))
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
func checkLog(t *testing.T, x *Index, l *memLog) error {
	name := filepath.Join(x.Path, volume.MetaDir, fmt.Sprintf("%05d.mem", l.number))
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
	volume.Files
	err error
}

type noSpaceFile struct {
	volume.File
	err error
}

func (f noAllocation) OpenFile(name string, flag int, perm fs.FileMode) (volume.File, error) {
	opened, err := f.Files.OpenFile(name, flag, perm)
	return noSpaceFile{opened, f.err}, err
}

func (f noSpaceFile) Allocate(int64) (bool, error) { return false, f.err }

// What has no space in the log of Badger is not written.
func TestNoSpaceForLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ err, want error }{
		{syscall.ENOSPC, volume.ErrNoSpace}, {syscall.EDQUOT, volume.ErrNoSpace}, {syscall.EIO, syscall.EIO}, {nil, nil},
	} {
		x := openTest(t, nil)
		root := x.logs.root
		x.logs.root = noAllocation{root, c.err}
		key := []byte{TableManifest, 1}
		for range 2 {
			if err := x.Update(100, func(b *Batch) error { return b.Set(key, []byte("x")) }); !errors.Is(err, c.want) {
				t.Errorf("write: %v, want %v", err, c.want)
			}
		}
		if c.err == nil {
			continue
		}
		if _, err := x.Get(key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read: %v", err)
		}
		x.logs.root = root
	}
}

// taken returns the bytes that a file takes on the disk.
func taken(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
