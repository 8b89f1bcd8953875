package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// looseFiles are those of a file system that says it has taken space, and has not.
type looseFiles struct{ files }

type looseFile struct{ file }

func (f looseFiles) OpenFile(name string, flag int, perm os.FileMode) (file, error) {
	opened, err := f.files.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return looseFile{opened}, nil
}

func (f looseFile) allocate(int64) (bool, error) { return false, nil }

// partsVolume makes the store believe in a file system of which so many bytes are free
// except what parts have written.
func partsVolume(s *Store, free, total int64) {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.space.looked = time.Time{}
	s.space.volume = func() (int64, int64, error) {
		left := free
		names, _ := filepath.Glob(filepath.Join(s.path, ingestDir, "*.part"))
		for _, name := range names {
			var st unix.Stat_t
			if unix.Stat(name, &st) == nil {
				left -= st.Blocks * 512
			}
		}
		return left, total, nil
	}
}

// Where the file system holds nothing back, what was promised to one part is not
// promised to another. What a part has become, or leaves, counts as it is.
func TestPartsShareOneAccountOfSpace(t *testing.T) {
	const total, size = 4 << 20, 256 << 10
	s := openTest(t, Options{over: func(f files) files { return looseFiles{f} }})
	partsVolume(s, floor(total)+size+size/2, total)
	begin := func(seed uint64) (*Part, error) {
		_, d := content(seed, 1)
		p, err := s.Part(t.Context(), scope, d, size)
		if err == nil {
			t.Cleanup(func() { p.Close() })
			_, err = p.WriteAt(make([]byte, 4096), 0)
		}
		return p, err
	}
	first, err := begin(1)
	if err != nil {
		t.Fatal(err)
	}
	for k := range uint64(3) {
		if _, err := begin(2 + k); !errors.Is(err, ErrNoSpace) {
			t.Errorf("part %d beside it: %v", k, err)
		}
	}
	for off := int64(4096); off < size; off += 4096 {
		if _, err := first.WriteAt(make([]byte, 4096), off); err != nil {
			t.Fatal(err)
		}
		if s.space.forget(); off == size/2 {
			if free, _ := s.space.unreserved(); free < floor(total)+size/4 || free > floor(total)+size {
				t.Errorf("free are %d beyond the floor, half-way", free-floor(total))
			}
		}
	}
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	s.space.forget()
	if s.space.reserved != 0 {
		t.Errorf("%d bytes are promised to nobody", s.space.reserved)
	}
	if _, err := begin(9); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// A part to which space was promised, and that others take, stops before the space of
// the index.
func TestPromisedPartLeavesTheReserve(t *testing.T) {
	const total = 4 << 20
	s := openTest(t, Options{over: func(f files) files { return looseFiles{f} }})
	setVolume(s, floor(total)+2<<20, total)
	_, d := content(1, 1)
	p := beginPart(t, s, d, 1<<20)
	if _, err := p.WriteAt(make([]byte, 10), 0); err != nil {
		t.Fatal(err)
	}
	setVolume(s, reserve(total)-1, total)
	_, err := p.WriteAt(make([]byte, 10), 10)
	wantErr(t, "write", err, ErrNoSpace)
}

// Space that was taken is told from space that was not.
func TestAllocateTellsWhatItHolds(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	taken, err := allocate(f, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || taken != (st.Blocks >= 2048) {
		t.Errorf("taken %v, there are %d blocks, %v", taken, st.Blocks, err)
	}
}
