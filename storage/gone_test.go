package storage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// openLeft opens a store whose Close leaves the index open. What it leaves ends
// with the test.
func openLeft(t *testing.T, o Options) *Store {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "store")
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		meta := filepath.Join(s.home.path, volume.MetaDir)
		if info, err := os.Lstat(meta); err == nil && !info.IsDir() {
			if err := os.Remove(meta); err != nil {
				t.Error(err)
			}
		}
		if err := os.MkdirAll(meta, 0o700); err != nil {
			t.Error(err)
		}
		if err := s.index.Release(); err != nil {
			t.Log(err) // it may miss a file
		}
	})
	return s
}

// A store whose directory is removed serves what is open, keeps nothing, says so,
// and can be closed: Badger alone would panic or wait for ever.
func TestDirectoryRemoved(t *testing.T) {
	t.Parallel()
	s := openLeft(t, Options{})
	fill(t, s, 5)
	b, d := content(1, 1000)
	putBlob(t, s, b)
	f, _, err := s.OpenBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, missing := content(2, 1000)
	p, err := s.Part(t.Context(), scope, missing, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := os.RemoveAll(s.home.path); err != nil {
		t.Fatal(err)
	}
	// More than the memtables hold.
	for k := range uint64(100) {
		b, d := content(k, 400<<10)
		if err := s.PutManifest(t.Context(), scope, oci.Manifest{Digest: d, Bytes: b}, nil); !errors.Is(err, ErrGone) {
			t.Fatalf("put manifest: %v", err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1000), 0); err != nil {
		t.Errorf("open blob: %v", err)
	}
	_, _, err = s.OpenBlob(t.Context(), d)
	wantErr(t, "open blob", err, fs.ErrNotExist)
	_, err = s.Part(t.Context(), scope, d, 1000)
	wantErr(t, "begin part", err, ErrGone)
	if _, err := p.WriteAt(other, 0); err != nil {
		t.Errorf("running part: %v", err)
	}
	if err := p.Commit(1000); err == nil {
		t.Error("a part was committed to nowhere")
	}
	if _, err := p.ReadAt(other, 0); err != nil {
		t.Errorf("running part: %v", err)
	}
	if u := s.Usage(); u.IndexOpen || u.IndexError == "" {
		t.Errorf("usage is %+v", u)
	}
	if _, err := os.Lstat(s.home.path); err == nil {
		t.Error("the directory is back")
	}
	begun := time.Now()
	wantErr(t, "close", s.Close(), ErrGone)
	if took := time.Since(begun); took > index.ClosePatience/2 {
		t.Errorf("close took %v", took)
	}
	// Whoever opens it next begins anew.
	openTest(t, Options{Path: s.home.path})
}

// Badger tries for ever to write what it cannot write.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	s := openLeft(t, Options{seams: seams{patience: 50 * time.Millisecond}})
	fill(t, s, 5)
	meta := filepath.Join(s.home.path, volume.MetaDir)
	if err := os.RemoveAll(meta); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("closed")
	}
	root, err := volume.Open(s.home.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := volume.Lock(t.Context(), root, -1)
	if err != nil {
		t.Fatalf("the lock is still held: %v", err)
	}
	f.Close()
}

// Directories that were removed are made again, and stay those of a store.
func TestPartMakesDirectories(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for _, name := range []string{volume.BlobsDir, volume.IngestDir, volume.VersionFile} {
		if err := os.RemoveAll(filepath.Join(s.home.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := content(1, 1000)
	d := putBlob(t, s, b)
	if got := readBlob(t, reopen(t, s), d); string(got) != string(b) {
		t.Error("other bytes")
	}
}

// On a full disk even a new directory opens, each time, and becomes a store once
// there is room.
func TestNewDirectoryOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	obstacle := filepath.Join(dir, volume.VersionFile+volume.Temporary)
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	var s *Store
	log := newMessages()
	for range 2 {
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s = openTest(t, Options{Path: dir, Logger: slog.New(log), seams: seams{retry: 10 * time.Millisecond}})
		if _, err := s.Part(t.Context(), scope, oci.Sum(nil), 1); err == nil {
			t.Error("part begun")
		}
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "index is open")
	putBlob(t, s, []byte("x"))
	fill(t, s, 1)
	if !s.home.state.Writable() {
		t.Error("there is no state")
	}
	reopen(t, s)
}
