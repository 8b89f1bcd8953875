package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// looseFiles are those of a file system that says it has taken space, and has not.
type looseFiles struct{ volume.Files }

type looseFile struct{ volume.File }

func (f looseFiles) OpenFile(name string, flag int, perm os.FileMode) (volume.File, error) {
	opened, err := f.Files.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return looseFile{opened}, nil
}

func (f looseFile) Allocate(int64) (bool, error) { return false, nil }

// partsVolume makes the store believe in a file system of which so many bytes are free
// except what parts have written.
func partsVolume(s *Store, free, total int64) {
	s.home.space.Measure(func() (int64, int64, error) {
		left := free
		names, _ := filepath.Glob(filepath.Join(s.home.path, volume.IngestDir, "*.part"))
		for _, name := range names {
			var st unix.Stat_t
			if unix.Stat(name, &st) == nil {
				left -= st.Blocks * 512
			}
		}
		return left, total, nil
	})
}

// Where the file system holds nothing back, what was promised to one part is not
// promised to another. What a part has become, or leaves, counts as it is.
func TestPartsShareOneAccountOfSpace(t *testing.T) {
	t.Parallel()
	const total, size = 4 << 20, 256 << 10
	s := openTest(t, Options{seams: seams{over: func(f volume.Files) volume.Files { return looseFiles{f} }}})
	partsVolume(s, volume.Floor(total)+size+size/2, total)
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
		if s.home.space.Forget(); off == size/2 {
			if free, _ := s.home.space.Unreserved(); free < volume.Floor(total)+size/4 || free > volume.Floor(total)+size {
				t.Errorf("free are %d beyond the floor, half-way", free-volume.Floor(total))
			}
		}
	}
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	s.home.space.Forget()
	free, _ := s.home.space.Look()
	if rest, _ := s.home.space.Unreserved(); rest != free {
		t.Errorf("%d bytes are promised to nobody", free-rest)
	}
	if _, err := begin(9); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// A part to which space was promised, and that others take, stops before the space of
// the index.
func TestPromisedPartLeavesTheReserve(t *testing.T) {
	t.Parallel()
	const total = 4 << 20
	s := openTest(t, Options{seams: seams{over: func(f volume.Files) volume.Files { return looseFiles{f} }}})
	setVolume(s, volume.Floor(total)+2<<20, total)
	_, d := content(1, 1)
	p := beginPart(t, s, d, 1<<20)
	if _, err := p.WriteAt(make([]byte, 10), 0); err != nil {
		t.Fatal(err)
	}
	setVolume(s, volume.Reserve(total)-1, total)
	_, err := p.WriteAt(make([]byte, 10), 10)
	wantErr(t, "write", err, ErrNoSpace)
}
