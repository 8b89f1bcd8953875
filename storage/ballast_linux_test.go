package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// taken returns the bytes that a file takes on the disk.
func taken(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestBallast(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	name := filepath.Join(s.home.path, volume.BallastFile)
	const total = 4 << 30 // reserve 64 MiB, floor 128 MiB, ballast 32 MiB
	setVolume(s, 287<<20, total)
	if err := s.home.ballast.Make(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a ballast without room for it: %v", err)
	}
	setVolume(s, 288<<20, total)
	for range 2 {
		if err := s.home.ballast.Make(); err != nil {
			t.Fatal(err)
		}
		if got := taken(t, name); got < 32<<20 || got > 33<<20 {
			t.Errorf("ballast takes %d bytes", got)
		}
	}
	// While the index is open, room to write down evictions comes first.
	setVolume(s, 63<<20, total)
	s.keeper.eviction.Pass(t.Context())
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ballast is still there: %v", err)
	}
}

// The ballast makes the room that the index needs, before any blob goes.
func TestBallastIsDroppedToOpen(t *testing.T) {
	t.Parallel()
	dir := filled(t, 3)
	name := filepath.Join(dir, volume.BallastFile)
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: dir, seams: seams{volume: func() (int64, int64, error) {
		if _, err := os.Stat(name); err == nil {
			return 63 << 20, 4 << 30, nil
		}
		return 2 << 30, 4 << 30, nil
	}}})
	if u := s.Usage(); !u.IndexOpen || u.EvictedBlobs != 0 {
		t.Errorf("usage is %+v", u)
	}
	wantWorking(t, s)
}

// A part whose size nobody announced stops before the space of the index.
func TestPartOfUnknownSizeLeavesTheReserve(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 1)
	setVolume(s, 129<<20, 4<<30)
	p := beginPart(t, s, d, -1)
	if _, err := p.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	setVolume(s, 63<<20, 4<<30)
	_, err := p.WriteAt([]byte("x"), 1)
	wantErr(t, "write", err, ErrNoSpace)
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
}
