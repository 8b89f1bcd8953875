package storage

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestCheckEnds(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for k := range 3 {
		b, _ := content(uint64(k), 1<<20)
		putBlob(t, s, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := CheckOptions{Verify: true, Progress: func(CheckProgress) { cancel() }}
	_, err := s.Check(ctx, o)
	wantErr(t, "cancelled check", err, context.Canceled)
	// At this rate it takes two minutes; Close does not wait for it.
	began := make(chan struct{})
	var once sync.Once
	ended := make(chan error)
	go func() {
		_, err := s.Check(context.WithoutCancel(t.Context()), CheckOptions{
			Verify: true, Rate: 24 << 10, Progress: func(CheckProgress) { once.Do(func() { close(began) }) },
		})
		ended <- err
	}()
	<-began
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "check of a closing store", <-ended, ErrClosed)
	_, err = s.Check(t.Context(), CheckOptions{})
	wantErr(t, "check of a closed store", err, ErrClosed)
	_, err = Open(t.Context(), Options{Path: filepath.Join(s.home.path, "none"), Existing: true})
	wantErr(t, "open of no store", err, fs.ErrNotExist)
	if _, err := os.Stat(filepath.Join(s.home.path, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking for a store made one: %v", err)
	}
}

// A check beside fills, eviction and hits finds nothing where nothing is wrong,
// and takes nothing away.
func TestCheckBesideEverything(t *testing.T) {
	t.Parallel()
	const size, most = 4000, 40
	s := openTest(t, Options{Limits: Limits{MaxSize: most * size}})
	ctx, cancel := context.WithCancel(t.Context())
	var next, served atomic.Uint64
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	for range 3 {
		load.Go(func() {
			for ctx.Err() == nil {
				k := next.Add(1)
				b, _ := content(k, size)
				d := putBlob(t, s, b)
				m := oci.Manifest{Bytes: b[:100], Digest: oci.Sum(b[:100])}
				err := s.PutManifest(t.Context(), scope, m, []oci.Descriptor{{Digest: d, Size: size}})
				if err == nil {
					err = s.PutTag(t.Context(), scope, "latest", Tag{Digest: m.Digest, Checked: s.now()})
				}
				if err != nil {
					t.Error(err)
				}
				_, d = content(k-rand.Uint64N(min(k, 2*most)), size)
				if f, _, err := s.OpenBlob(t.Context(), d); err == nil {
					f.Close()
					served.Add(1)
				} else if !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
		})
	}
	for n := 0; n < 40 || s.Usage().EvictedBlobs == 0 || served.Load() == 0; n++ {
		r, err := s.Check(t.Context(), CheckOptions{Verify: n%2 == 0, Repair: n%4 < 2})
		if err != nil || len(r.Findings) > 0 {
			t.Fatalf("check %d: %+v, %v", n, r.Findings, err)
		}
	}
	cancel()
	load.Wait()
	if u := s.Usage(); u.EvictedBlobs == 0 || u.QuarantinedBlobs > 0 || served.Load() == 0 {
		t.Errorf("usage is %+v, %d blobs were served", u, served.Load())
	}
}

// Two that mend the same store at once do it once.
func TestChecksAtOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	const whole, damaged = 30, 60
	for k := range whole + damaged {
		b, _ := content(uint64(k), 2000)
		d := putBlob(t, s, b)
		if k >= whole {
			flipBit(t, s, d, k)
		}
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := s.Check(t.Context(), CheckOptions{Verify: true, Repair: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	settle(t, s)
	if r, got := check(t, s, CheckOptions{Verify: true}); len(got) > 0 || r.Blobs != whole {
		t.Errorf("%d blobs are in order, %+v", r.Blobs, r.Findings)
	}
	if u := s.Usage(); u.Blobs != whole {
		t.Errorf("usage is %+v", u)
	}
}

// A rebuilt index knows all that the old one did.
func TestRebuild(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	m, blobs := putImage(t, s, "3", 5)
	i, _ := volume.IDOf(blobs[4])
	flipBit(t, s, blobs[3], 5)
	// A crash: no snapshot holds any of it.
	if err := errors.Join(s.Close(), os.RemoveAll(filepath.Join(s.home.path, index.SnapshotDir))); err != nil {
		t.Fatal(err)
	}
	s, err := Rebuild(t.Context(), Options{Path: s.home.path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, known := s.index.Blob(i); known {
		t.Error("the index is the old one")
	}
	r, got := check(t, s, CheckOptions{Verify: true, Repair: true})
	if got[FindingUnrecorded] != (FindingCount{Found: 4, Repaired: 4}) || got[FindingDamaged] != (FindingCount{Found: 1, Repaired: 1}) || got[FindingIndex] != (FindingCount{Found: 1, Repaired: 1}) || len(got) != 3 {
		t.Errorf("found %+v", r.Findings)
	}
	s = reopen(t, s)
	if kept, _ := filepath.Glob(filepath.Join(s.home.path, index.BadMeta+"*")); len(kept) != 1 {
		t.Errorf("set aside: %v", kept)
	}
	if tag, err := s.Tag(t.Context(), scope, "3"); err != nil || tag.Digest != m.Digest {
		t.Errorf("tag is %+v, %v", tag, err)
	}
	if got, err := s.Manifest(t.Context(), m.Digest); err != nil || string(got.Bytes) != string(m.Bytes) {
		t.Errorf("manifest: %v", err)
	}
	for k, d := range blobs {
		if _, err := s.Linked(t.Context(), scope, d); err != nil {
			t.Error(err)
		}
		if _, err := s.StatBlob(t.Context(), d); errors.Is(err, fs.ErrNotExist) != (k == 3) {
			t.Errorf("blob %d: %v", k, err)
		}
	}
	if r, got := check(t, s, CheckOptions{Verify: true}); len(got) > 0 {
		t.Errorf("left: %+v", r.Findings)
	}
	s.Close()
	_, err = Rebuild(t.Context(), Options{Path: t.TempDir()})
	wantErr(t, "rebuild of no store", err, fs.ErrNotExist)
}

// Who only looks leaves a damaged index as it is, and what is suspended, too.
func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, blobs := putImage(t, s, "3", 2)
	i, _ := volume.IDOf(blobs[0])
	stale := filepath.Join(s.home.path, i.PartPath())
	if err := errors.Join(s.Close(), os.WriteFile(stale, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(s.home.path, volume.MetaDir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, name := range tables {
		rewrite(t, name, func(b []byte) []byte { b[len(b)/2] ^= 1; b[10] ^= 1; return b })
	}
	look := func(o Options) map[FindingKind]FindingCount {
		t.Helper()
		o.Path = s.home.path
		s = openTest(t, o)
		_, got := check(t, s, CheckOptions{Repair: !o.Inspect})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for range index.MaxOpenings + 1 {
		if got := look(Options{Inspect: true}); got[FindingIndex] != (FindingCount{Found: 1, Repaired: 0}) || got[FindingPart] != (FindingCount{Found: 1, Repaired: 0}) || len(got) != 2 {
			t.Errorf("found %v", got)
		}
	}
	if kept, _ := filepath.Glob(filepath.Join(s.home.path, index.BadMeta+"*")); len(kept) != 0 {
		t.Errorf("set aside: %v", kept)
	}
	got := look(Options{Quiet: true})
	if got[FindingIndex] != (FindingCount{Found: 1, Repaired: 1}) || got[FindingPart] != (FindingCount{Found: 1, Repaired: 1}) || got[FindingUnrecorded] != (FindingCount{Found: 2, Repaired: 2}) || len(got) != 3 {
		t.Errorf("mended %v", got)
	}
	if got := look(Options{Inspect: true}); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
