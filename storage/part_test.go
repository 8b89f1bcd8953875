package storage

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func beginPart(t testing.TB, s *Store, d digest.Digest, size int64) *Part {
	t.Helper()
	p, err := s.Part(t.Context(), scope, d, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func wantIngest(t testing.TB, s *Store, want int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.home.path, volume.IngestDir))
	if err != nil || len(entries) != want {
		t.Errorf("ingest holds %v, %v, want %d files", entries, err, want)
	}
}

// What is opened another time has a position of its own, and outlives the part and
// its name.
func TestPartReopen(t *testing.T) {
	t.Parallel()
	for _, end := range []func(*Part) error{
		func(p *Part) error { return p.Commit(1 << 20) }, (*Part).Remove, (*Part).Close,
	} {
		s := openTest(t, Options{})
		b, d := content(1, 1<<20)
		p := beginPart(t, s, d, 1<<20)
		if _, err := p.WriteAt(b[:1000], 0); err != nil {
			t.Fatal(err)
		}
		first, err := p.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		got := make([]byte, 1000)
		if _, err := io.ReadFull(first, got); err != nil || !bytes.Equal(got, b[:1000]) {
			t.Errorf("wrong bytes: %v", err)
		}
		if _, err := p.WriteAt(b[1000:], 1000); err != nil {
			t.Fatal(err)
		}
		if err := end(p); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(first); err != nil || !bytes.Equal(rest, b[1000:]) {
			t.Errorf("%d wrong bytes: %v", len(rest), err)
		}
	}
}

// Segments are written concurrently, and readers of the fill go on reading the
// descriptor they have after it became a blob.
func TestPartCommit(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1<<20)
	p := beginPart(t, s, d, -1)
	if got := p.Covered(); len(got) != 0 {
		t.Errorf("new part covers %v", got)
	}
	var wg sync.WaitGroup
	for off := 0; off < len(b); off += 1 << 16 {
		wg.Go(func() {
			if _, err := p.WriteAt(b[off:off+1<<16], int64(off)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := p.Commit(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(b))
	if _, err := p.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("part is not readable after commit: %v", err)
	}
	_, err := p.WriteAt(b, 0)
	wantErr(t, "write after commit", err, fs.ErrClosed)
	wantErr(t, "second commit", p.Commit(1<<20), fs.ErrClosed)
	wantErr(t, "remove after commit", p.Remove(), fs.ErrClosed)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
	wantIngest(t, s, 0)
}

func TestPartIsExclusive(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, d := content(1, 10)
	for name, end := range map[string]func(*Part) error{
		"remove":  (*Part).Remove,
		"suspend": func(p *Part) error { return p.Suspend(nil) },
		"close":   (*Part).Close,
		"commit":  func(p *Part) error { return p.Commit(0) },
	} {
		p := beginPart(t, s, d, 10)
		_, err := s.Part(t.Context(), scope, d, 10)
		wantErr(t, name+": second part", err, fs.ErrExist)
		if u := s.Usage(); u.Fills != 1 {
			t.Errorf("usage is %+v", u)
		}
		if err := end(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantIngest(t, s, 0)
	}
}

// What a part left that could not be removed is no part of the next one.
func TestPartIsBegunOverLeftovers(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 10)
	i, _ := volume.IDOf(d)
	if err := os.WriteFile(filepath.Join(s.home.path, i.PartPath()), []byte("left behind, and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := beginPart(t, s, d, 10)
	if info, err := p.file.Stat(); err != nil || info.Size() != 0 {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(10); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
	wantIngest(t, s, 0)
}

func TestCommitOntoExisting(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	stored, _ := s.index.Blob(i)
	c.move(time.Hour)
	before, err := os.Stat(blobFile(t, s, d))
	if err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, b)
	after, err := os.Stat(blobFile(t, s, d))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced: %v", err)
	}
	if r, known := s.index.Blob(i); !known || r != stored {
		t.Errorf("record is %+v, was %+v", r, stored)
	}
	wantIngest(t, s, 0)
	if u := s.Usage(); u.Blobs != 1 || u.BlobBytes != 1000 {
		t.Errorf("usage is %+v", u)
	}
	// One of another size is not the blob.
	if err := os.Truncate(blobFile(t, s, d), 1); err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, b)
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
}

func TestCommitOfShortPart(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 10)
	p := beginPart(t, s, d, 10)
	if _, err := p.WriteAt(b[:9], 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(10); err == nil {
		t.Error("committed")
	}
	_, err := s.StatBlob(t.Context(), d)
	wantErr(t, "stat", err, fs.ErrNotExist)
	wantIngest(t, s, 0)
}

func TestSuspendedPartIsReopened(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	covered := extents(0, 100, 500, 700)
	p := beginPart(t, s, d, 1000)
	for _, e := range covered {
		if _, err := p.WriteAt(b[e.Start:e.End], e.Start); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Suspend(covered); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if _, err := p.ReadAt(got, 0); err != nil || !bytes.Equal(got, b[:100]) {
		t.Errorf("part is not readable after suspend: %v", err)
	}
	s = reopen(t, s)
	p = beginPart(t, s, d, -1)
	if !slices.Equal(p.Covered(), covered) {
		t.Fatalf("covered %v, want %v", p.Covered(), covered)
	}
	for _, e := range extents(100, 500, 700, 1000) {
		if _, err := p.WriteAt(b[e.Start:e.End], e.Start); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Commit(1000); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
	wantIngest(t, s, 0)
}

// A fill that was reopened, and that nobody ends, loses nothing of what it had added.
func TestReopenedPartSurvivesCrash(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	p := beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b[:100], 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Suspend(extents(0, 100)); err != nil {
		t.Fatal(err)
	}
	p = beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b[100:200], 100); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s) // ends the part without a word
	p = beginPart(t, s, d, 1000)
	if want := extents(0, 200); !slices.Equal(p.Covered(), want) {
		t.Errorf("covered %v, want %v", p.Covered(), want)
	}
}

func TestUnusableSidecar(t *testing.T) {
	t.Parallel()
	b, d := content(1, 1000)
	i, _ := volume.IDOf(d)
	for name, spoil := range map[string]func(dir string) error{
		"garbage":      func(dir string) error { return os.WriteFile(dir+"/"+i.SidecarPath(), []byte("?"), 0o600) },
		"empty":        func(dir string) error { return os.WriteFile(dir+"/"+i.SidecarPath(), nil, 0o600) },
		"no part":      func(dir string) error { return os.Remove(dir + "/" + i.PartPath()) },
		"short part":   func(dir string) error { return os.Truncate(dir+"/"+i.PartPath(), 99) },
		"no sidecar":   func(dir string) error { return os.Remove(dir + "/" + i.SidecarPath()) },
		"foreign part": func(dir string) error { return os.WriteFile(dir+"/"+volume.IngestDir+"/x.part", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			p := beginPart(t, s, d, 1000)
			if _, err := p.WriteAt(b[:100], 0); err != nil {
				t.Fatal(err)
			}
			if err := p.Suspend(extents(0, 100)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(s.home.path); err != nil {
				t.Fatal(err)
			}
			s = reopen(t, s)
			if name == "foreign part" {
				wantIngest(t, s, 2)
				return
			}
			wantIngest(t, s, 0)
			if p := beginPart(t, s, d, 1000); len(p.Covered()) != 0 {
				t.Errorf("covered %v", p.Covered())
			}
		})
	}
}

func TestSuspendedPartOfAnotherSize(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	p := beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Suspend(extents(0, 1000)); err != nil {
		t.Fatal(err)
	}
	p = beginPart(t, s, d, 500)
	if len(p.Covered()) != 0 {
		t.Errorf("covered %v", p.Covered())
	}
	if n, _ := p.ReadAt(make([]byte, 10), 0); n != 0 {
		t.Error("old bytes are left")
	}
}

// extents are those from each first to each second.
func extents(bounds ...int64) (all oci.Extents) {
	for pair := range slices.Chunk(bounds, 2) {
		all = append(all, oci.Extent{Start: pair[0], End: pair[1]})
	}
	return all
}

func TestSuspendRefusesNonsense(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 3000)
	for _, covered := range []oci.Extents{
		extents(0, 2001), extents(1500, 3001), extents(-1, 5), extents(5, 5), extents(0, 10, 5, 20), extents(0, 10, 10, 20), extents(10, 20, 0, 5),
	} {
		p := beginPart(t, s, d, 2000)
		if _, err := p.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Suspend(covered); err == nil {
			t.Errorf("suspended with %v", covered)
		}
		wantIngest(t, s, 0)
	}
	p := beginPart(t, s, d, 2000)
	if err := p.Suspend(extents(0, 1)); err == nil {
		t.Error("suspended with what was not written")
	}
}
