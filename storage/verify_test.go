package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// spoil cuts the end off the file of a blob.
func spoil(t *testing.T, s *Store, d digest.Digest, size int64) {
	t.Helper()
	if err := os.Chmod(blobFile(t, s, d), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blobFile(t, s, d), size); err != nil {
		t.Fatal(err)
	}
}

func wantQuarantined(t *testing.T, s *Store, want int64) {
	t.Helper()
	settle(t, s)
	if u := s.Usage(); u.QuarantinedBlobs != want {
		t.Errorf("%d blobs were quarantined, want %d", u.QuarantinedBlobs, want)
	}
}

func TestVerifyBlob(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	whole, d := content(1, 5000)
	wantErr(t, "absent", s.VerifyBlob(t.Context(), d), fs.ErrNotExist)
	putBlob(t, s, whole)
	if err := s.VerifyBlob(t.Context(), d); err != nil {
		t.Errorf("whole: %v", err)
	}
	b, damaged := content(2, 5000)
	putBlob(t, s, b)
	flipBit(t, s, damaged, 20_000)
	wantErr(t, "damaged", s.VerifyBlob(t.Context(), damaged), fs.ErrNotExist)
	wantErr(t, "again", s.VerifyBlob(t.Context(), damaged), fs.ErrNotExist)
	wantQuarantined(t, s, 1)
	i, _ := volume.IDOf(damaged)
	if r, known := s.index.Blob(i); known {
		t.Errorf("record is %+v", r)
	}
	putBlob(t, s, b)
	if err := s.VerifyBlob(t.Context(), damaged); err != nil {
		t.Errorf("stored again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "closed", s.VerifyBlob(t.Context(), d), ErrClosed)
}

// The bytes decide, not what the index says of them.
func TestVerifyBlobCorrectsRecord(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 5000)
	putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	wrong := index.Blob{Size: 4000, Created: s.now()}
	if err := s.index.Update(0, func(b *index.Batch) error { return b.PutBlob(i, wrong) }); err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyBlob(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if r, known := s.index.Blob(i); !known || r.Size != 5000 {
		t.Errorf("record is %+v, %v", r, known)
	}
	if u := s.Usage(); u.BlobBytes != 5000 {
		t.Errorf("usage is %+v", u)
	}
}

// A slow pass tells how far it is, ends with who wanted it and with the store, and
// keeps nobody who pulls.
func TestVerifyBlobAt(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 5<<20)
	wantErr(t, "absent", s.VerifyBlobAt(t.Context(), d, nil, nil), fs.ErrNotExist)
	putBlob(t, s, b)
	var read int64
	if err := s.VerifyBlobAt(t.Context(), d, NewPace(0), func(n int64) { read += n }); err != nil || read != 5<<20 {
		t.Errorf("%d bytes read, %v", read, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.VerifyBlobAt(ctx, d, NewPace(1), func(int64) {
		if n, err := s.StatBlob(ctx, d); err != nil || n != 5<<20 {
			t.Errorf("meanwhile: %d, %v", n, err)
		}
		cancel()
	})
	wantErr(t, "cancelled", err, context.Canceled)
	flipBit(t, s, d, 3<<20)
	wantErr(t, "damaged", s.VerifyBlobAt(t.Context(), d, NewPace(1<<40), nil), fs.ErrNotExist)
	wantQuarantined(t, s, 1)
	putBlob(t, s, b)
	wantErr(t, "closed", s.VerifyBlobAt(t.Context(), d, NewPace(1), func(int64) { go s.Close() }), ErrClosed)
}

func TestVerifyBlobIsShared(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1<<20)
	putBlob(t, s, b)
	flipBit(t, s, d, 1)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { wantErr(t, "verify", s.VerifyBlob(t.Context(), d), fs.ErrNotExist) })
	}
	wg.Wait()
	wantQuarantined(t, s, 1)
}

// Whatever lies in the place of a blob is not one because it lies there.
func TestFileWithoutRecordIsVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*Store, digest.Digest)
		whole bool
	}{
		"whole":     {func(*Store, digest.Digest) {}, true},
		"truncated": {func(s *Store, d digest.Digest) { spoil(t, s, d, 3000) }, false},
		"flipped":   {func(s *Store, d digest.Digest) { flipBit(t, s, d, 20_000) }, false},
	} {
		for verb, use := range map[string]func(*Store, digest.Digest) error{
			"open": func(s *Store, d digest.Digest) error {
				f, _, err := s.OpenBlob(t.Context(), d)
				if err == nil {
					err = f.Close()
				}
				return err
			},
			"stat": func(s *Store, d digest.Digest) error { _, err := s.StatBlob(t.Context(), d); return err },
		} {
			t.Run(name+"/"+verb, func(t *testing.T) {
				s := openTest(t, Options{})
				b, _ := content(1, 5000)
				d := putBlob(t, s, b)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				c.spoil(s, d)
				if err := os.RemoveAll(filepath.Join(s.home.path, volume.MetaDir)); err != nil {
					t.Fatal(err)
				}
				s = reopen(t, s)
				if c.whole {
					if err := use(s, d); err != nil {
						t.Fatal(err)
					}
					// Once it is recorded, its file is trusted.
					flipBit(t, s, d, 20_000)
					if err := use(s, d); err != nil {
						t.Errorf("it is read again: %v", err)
					}
					return
				}
				for range 2 {
					wantErr(t, verb, use(s, d), fs.ErrNotExist)
				}
				wantQuarantined(t, s, 1)
			})
		}
	}
}

// Where nothing can be recorded, a blob is all the same verified only once, and
// one that was just stored not at all.
func TestFileWithoutRecordIsVerifiedOnceWithoutIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{
		Path: filled(t, 1), seams: seams{retry: time.Hour, volume: func() (int64, int64, error) { return 1000, 100 << 30, nil }},
	})
	old := oci.Sum([]byte("blob"))
	if _, err := s.StatBlob(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	setVolume(s, 50<<30, 100<<30)
	b, d := content(9, 1000)
	putBlob(t, s, b)
	for _, d := range []digest.Digest{old, d} {
		flipBit(t, s, d, 1)
		if _, err := s.StatBlob(t.Context(), d); err != nil {
			t.Errorf("it is read again: %v", err)
		}
		wantErr(t, "verify", s.VerifyBlob(t.Context(), d), fs.ErrNotExist)
		_, err := s.StatBlob(t.Context(), d)
		wantErr(t, "stat", err, fs.ErrNotExist)
	}
}

// A fill replaces what lies unrecorded in the place of its blob.
func TestCommitReplacesFileWithoutRecord(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 5000)
	putBlob(t, s, b)
	flipBit(t, s, d, 20_000)
	i, _ := volume.IDOf(d)
	if err := s.index.Update(0, func(b *index.Batch) error { return b.DropBlob(i) }); err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, b)
	if string(readBlob(t, s, d)) != string(b) {
		t.Error("other bytes")
	}
}
