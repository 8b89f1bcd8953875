package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What the quarantine holds at most, and where.
const (
	quarantineDir    = integrity.QuarantineDir
	quarantineSuffix = ".bad"
	quarantineFiles  = 16
	quarantineBytes  = 1 << 30
)

// flipBit changes one bit of a blob's file, as a failing disk does: in place,
// with nothing else changed.
func flipBit(t *testing.T, s *Store, d digest.Digest, bit int) {
	t.Helper()
	name := blobFile(t, s, d)
	info, err := os.Stat(name)
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// From here on the store may find it, and move the file away.
	var b [1]byte
	_, err = f.ReadAt(b[:], int64(bit/8))
	b[0] ^= 1 << (bit % 8)
	if err == nil {
		_, err = f.WriteAt(b[:], int64(bit/8))
	}
	if err := errors.Join(err, f.Chmod(0o444), os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

func countQuarantined(t *testing.T, s *Store) int {
	t.Helper()
	bad, err := filepath.Glob(filepath.Join(s.home.path, quarantineDir, "*"+quarantineSuffix))
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := filepath.Glob(filepath.Join(s.home.path, quarantineDir, "*.json"))
	if err != nil || len(reasons) != len(bad) {
		t.Errorf("%d reasons of %d blobs, %v", len(reasons), len(bad), err)
	}
	return len(bad)
}

// Scrubbed is how far a Scrub got.
type Scrubbed = integrity.Scrubbed

// Scrub reads all finished blobs at once, as the store does in the background.
func (s *Store) Scrub(ctx context.Context, progress func(Scrubbed)) (Scrubbed, error) {
	return s.judge.Scrub(ctx, nil, progress)
}

// One pass finds every damaged blob, and none that is whole.
func TestScrubFindsEveryFlippedBit(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := openTest(t, Options{})
	const whole, damaged, size = 60, 200, 3000
	damage := make(map[digest.Digest]bool)
	for k := range whole + damaged {
		b, _ := content(uint64(k), size)
		d := putBlob(t, s, b)
		if damage[d] = k >= whole; damage[d] {
			flipBit(t, s, d, random.IntN(size*8))
		}
	}
	var last Scrubbed
	got, err := s.Scrub(t.Context(), func(now Scrubbed) {
		if now.Blobs != last.Blobs+1 {
			t.Errorf("progress went from %+v to %+v", last, now)
		}
		last = now
	})
	want := Scrubbed{Blobs: whole + damaged, Bytes: whole * size, Damaged: damaged}
	if err != nil || got != want || last != want {
		t.Errorf("scrubbed %+v, reported %+v, %v, want %+v", got, last, err, want)
	}
	for d, damaged := range damage {
		if _, err := s.StatBlob(t.Context(), d); errors.Is(err, fs.ErrNotExist) != damaged {
			t.Errorf("blob %s, damaged %v: %v", d, damaged, err)
		}
	}
	settle(t, s)
	if u := s.Usage(); u.QuarantinedBlobs != damaged || u.Blobs != whole || u.BlobBytes != whole*size {
		t.Errorf("usage is %+v", u)
	}
	if n := countQuarantined(t, s); n != quarantineFiles {
		t.Errorf("%d blobs in quarantine", n)
	}
	// What was damaged can be stored again.
	for k := range whole + damaged {
		b, _ := content(uint64(k), size)
		putBlob(t, s, b)
	}
	if got, err := s.Scrub(t.Context(), nil); err != nil || got.Damaged != 0 || got.Blobs != whole+damaged {
		t.Errorf("scrubbed %+v, %v", got, err)
	}
}

func TestScrubMendsRecords(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	if err := s.index.Update(0, func(b *index.Batch) error { return b.PutBlob(i, index.Blob{Size: 7}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Scrub(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	if size, err := s.StatBlob(t.Context(), d); err != nil || size != 1000 {
		t.Errorf("size is %d, %v", size, err)
	}
}

func TestScrubEnds(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for k := range 3 {
		b, _ := content(uint64(k), 1000)
		putBlob(t, s, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := s.Scrub(ctx, func(Scrubbed) { cancel() })
	wantErr(t, "cancelled scrub", err, context.Canceled)
	if got.Blobs != 1 {
		t.Errorf("scrubbed %+v", got)
	}
	// A blob is read outside the store: Close does not wait for it.
	_, err = s.Scrub(t.Context(), func(Scrubbed) { go s.Close(); <-s.life.Context().Done() })
	if err != nil {
		wantErr(t, "scrub of a closing store", err, ErrClosed)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Scrub(t.Context(), nil)
	wantErr(t, "scrub of a closed store", err, ErrClosed)
}

// The quarantine is bounded in bytes, too, and never the reason for a full disk.
func TestQuarantineIsBounded(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	put := func(k uint64, size int64) {
		t.Helper()
		b, _ := content(k, 10)
		d := putBlob(t, s, b)
		name := blobFile(t, s, d)
		// Sparse: only the size counts.
		if err := errors.Join(os.Chmod(name, 0o600), os.Truncate(name, size)); err != nil {
			t.Fatal(err)
		}
		_, err := s.StatBlob(t.Context(), d)
		wantErr(t, "blob of another size", err, fs.ErrNotExist)
	}
	for k, c := range []struct {
		size int64
		want int
	}{{400 << 20, 1}, {400 << 20, 2}, {400 << 20, 2}, {quarantineBytes + 1, 2}, {quarantineBytes, 1}} {
		put(uint64(k), c.size)
		if n := countQuarantined(t, s); n != c.want {
			t.Errorf("after %d: %d blobs in quarantine, want %d", k, n, c.want)
		}
	}
	setVolume(s, 1<<40, 1<<40)
	b, _ := content(100, 10)
	d := putBlob(t, s, b)
	flipBit(t, s, d, 1)
	setVolume(s, 1000, 1<<40)
	if _, err := s.Scrub(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(blobFile(t, s, d)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged blob is still there: %v", err)
	}
	if n := countQuarantined(t, s); n != 1 {
		t.Errorf("%d blobs in quarantine", n)
	}
}
