package storage

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func readBlob(t testing.TB, s *Store, d digest.Digest) []byte {
	t.Helper()
	f, size, err := s.OpenBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("read %d bytes of %d: %v", len(b), size, err)
	}
	return b
}

func TestBlobRoundTrip(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for _, size := range []int{0, 1, 100_000} {
		b, d := content(1, size)
		_, _, err := s.OpenBlob(t.Context(), d)
		wantErr(t, "open before", err, fs.ErrNotExist)
		_, err = s.StatBlob(t.Context(), d)
		wantErr(t, "stat before", err, fs.ErrNotExist)
		putBlob(t, s, b)
		if !bytes.Equal(readBlob(t, s, d), b) {
			t.Error("other bytes")
		}
		if got, err := s.StatBlob(t.Context(), d); err != nil || got != int64(size) {
			t.Errorf("size is %d, %v", got, err)
		}
	}
	if u := s.Usage(); u.Blobs != 3 || u.BlobBytes != 100_001 || u.FreeBytes <= 0 {
		t.Errorf("usage is %+v", u)
	}
}

func TestBlobSHA512(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b := []byte("x")
	d := digest.SHA512.FromBytes(b)
	p, err := s.Part(t.Context(), scope, d, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
}

func TestFileWithoutRecordIsAdopted(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	if err := s.index.Update(0, func(b *index.Batch) error { return b.DropBlob(i) }); err != nil {
		t.Fatal(err)
	}
	if u := s.Usage(); u.Blobs != 0 {
		t.Fatalf("usage is %+v", u)
	}
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
	settle(t, s)
	if u := s.Usage(); u.Blobs != 1 || u.BlobBytes != 1000 {
		t.Errorf("usage is %+v", u)
	}
}

// The index as a whole may be lost.
func TestBlobsSurviveLossOfIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.home.path, volume.MetaDir)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readBlob(t, reopen(t, s), d), b) {
		t.Error("other bytes")
	}
}

func TestRecordWithoutFileIsDropped(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	if err := os.Remove(blobFile(t, s, d)); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.OpenBlob(t.Context(), d)
	wantErr(t, "open", err, fs.ErrNotExist)
	settle(t, s)
	if u := s.Usage(); u.Blobs != 0 || u.BlobBytes != 0 {
		t.Errorf("usage is %+v", u)
	}
	putBlob(t, s, b)
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("other bytes")
	}
}

func TestFileOfWrongSizeIsDropped(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(string) error{
		"short":     func(file string) error { return os.Truncate(file, 999) },
		"long":      func(file string) error { return os.Truncate(file, 1001) },
		"directory": func(file string) error { os.Remove(file); return os.Mkdir(file, 0o700) },
		"link out":  func(file string) error { os.Remove(file); return os.Symlink("/etc/passwd", file) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			b, d := content(1, 1000)
			putBlob(t, s, b)
			file := blobFile(t, s, d)
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := spoil(file); err != nil {
				t.Fatal(err)
			}
			if f, _, err := s.OpenBlob(t.Context(), d); err == nil {
				f.Close()
				t.Fatal("opened")
			}
			if name == "short" || name == "long" {
				_, err := s.StatBlob(t.Context(), d)
				wantErr(t, "stat", err, fs.ErrNotExist)
				settle(t, s)
				if u := s.Usage(); u.Blobs != 0 {
					t.Errorf("usage is %+v", u)
				}
				putBlob(t, s, b)
				if !bytes.Equal(readBlob(t, s, d), b) {
					t.Error("other bytes")
				}
			}
		})
	}
}

func TestUsageIsCountedAfterOpen(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for n := range 50 {
		b, _ := content(uint64(n), 100)
		putBlob(t, s, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: s.home.path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// What comes while the older ones are being counted is counted once.
	for n := range 100 {
		b, _ := content(uint64(n), 100)
		putBlob(t, s, b)
	}
	for !s.Usage().Counted {
		runtime.Gosched()
	}
	if u := s.Usage(); u.Blobs != 100 || u.BlobBytes != 10_000 {
		t.Errorf("usage is %+v", u)
	}
}
