package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/oci"
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
	s := openTest(t, Options{})
	name := filepath.Join(s.path, ballastFile)
	const total = 4 << 30 // reserve 64 MiB, floor 128 MiB, ballast 32 MiB
	setVolume(s, 287<<20, total)
	if err := s.makeBallast(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a ballast without room for it: %v", err)
	}
	setVolume(s, 288<<20, total)
	for range 2 {
		if err := s.makeBallast(); err != nil {
			t.Fatal(err)
		}
		if got := taken(t, name); got < 32<<20 || got > 33<<20 {
			t.Errorf("ballast takes %d bytes", got)
		}
	}
	// While the index is open, room to write down evictions comes first.
	setVolume(s, 63<<20, total)
	s.evict(t.Context())
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ballast is still there: %v", err)
	}
}

// The ballast makes the room that the index needs, before any blob goes.
func TestBallastIsDroppedToOpen(t *testing.T) {
	dir := filled(t, 3)
	name := filepath.Join(dir, ballastFile)
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: dir, volume: func() (int64, int64, error) {
		if _, err := os.Stat(name); err == nil {
			return 63 << 20, 4 << 30, nil
		}
		return 2 << 30, 4 << 30, nil
	}})
	if u := s.Usage(); !u.IndexOpen || u.EvictedBlobs != 0 {
		t.Errorf("usage is %+v", u)
	}
	wantWorking(t, s)
}

// The log that Badger writes to through a mapping has its space, also after it
// went on to another.
func TestLogIsSecured(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	seen := make(map[string]bool)
	for k := range 80 {
		b, d := content(uint64(k), maxValue-1000)
		if err := s.PutManifest(scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil); err != nil {
			t.Fatal(err)
		}
		if k%20 != 19 {
			continue
		}
		var log string // read where it is written
		for range 2 {
			err := s.index.update(secureEvery, func(*batch) error { log = s.index.logs.secured; return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if log == "" {
			t.Fatal("no log is secured")
		}
		log = filepath.Join(s.path, log)
		if _, err := os.Stat(log); err != nil {
			continue // it was written out meanwhile
		}
		if got := taken(t, log); got < 32<<20 {
			t.Errorf("%s takes %d bytes", log, got)
		}
		seen[log] = true
	}
	if len(seen) < 2 {
		t.Errorf("logs were %v", seen)
	}
}

// A part whose size nobody announced stops before the space of the index.
func TestPartOfUnknownSizeLeavesTheReserve(t *testing.T) {
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
