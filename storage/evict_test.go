package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// leastInodes are left free where there are few.
const leastInodes = 16

// setVolume makes the store believe that its file system has so many bytes.
func setVolume(s *Store, free, total int64) {
	s.home.space.Measure(func() (int64, int64, error) { return free, total, nil })
}

// evictable is a store with blobs of 1000 bytes, one an hour, oldest first.
func evictable(t *testing.T, n int) (*Store, *clock, messages, []digest.Digest) {
	t.Helper()
	c, log := newClock(), newMessages()
	s := openTest(t, Options{Now: c.now, Logger: slog.New(log)})
	var ds []digest.Digest
	for k := range n {
		b, d := content(uint64(k), 1000)
		putBlob(t, s, b)
		ds = append(ds, d)
		c.move(time.Hour)
	}
	return s, c, log, ds
}

func wantBlobs(t *testing.T, s *Store, ds []digest.Digest, want ...bool) {
	t.Helper()
	var blobs int64
	for k, d := range ds {
		_, err := s.StatBlob(t.Context(), d)
		if want[k] {
			blobs++
			if err != nil {
				t.Errorf("blob %d is gone: %v", k, err)
			}
		} else {
			wantErr(t, "blob "+strconv.Itoa(k), err, fs.ErrNotExist)
		}
	}
	if u := s.Usage(); u.Blobs != blobs || u.BlobBytes != 1000*blobs {
		t.Errorf("usage is %+v, want %d blobs", u, blobs)
	}
}

func TestEvictKeepsTheNewest(t *testing.T) {
	t.Parallel()
	s, _, log, ds := evictable(t, 6)
	// The oldest is used again, and an open blob is read to its end.
	readBlob(t, s, ds[0])
	f, _, err := s.OpenBlob(t.Context(), ds[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.SetLimits(Limits{MaxSize: 3600})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, true, true, false, false, false, true)
	if u := s.Usage(); u.EvictedBlobs != 3 || u.EvictedBytes != 3000 {
		t.Errorf("usage is %+v", u)
	}
	s.SetLimits(Limits{MaxSize: 1})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, true, false, false, false, false)
	if u := s.Usage(); u.BusyBytes != 1000 {
		t.Errorf("usage is %+v", u)
	}
	want, _ := content(1, 1000)
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("open blob was cut: %v", err)
	}
	for range 2 {
		f.Close() // only the first counts
	}
	s.limits.Soon()
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, false, false, false, false, false)
}

// A hit between the decision and its execution saves the blob.
func TestHitDuringEvictionSaves(t *testing.T) {
	t.Parallel()
	s, c, _, ds := evictable(t, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: s.home.path, Now: c.now, Quiet: true, Limits: Limits{MaxSize: 1020}}) // 2000 bytes too many
	for !s.Usage().Counted {
		time.Sleep(time.Millisecond)
	}
	pins := s.keeper.eviction.Pins
	s.keeper.eviction.Pins = func(ctx context.Context, txn *index.Txn) (images.Set, error) {
		readBlob(t, s, ds[0])
		return pins(ctx, txn)
	}
	s.keeper.eviction.Pass(t.Context())
	wantBlobs(t, s, ds, true, false, true)
}

// Uses outlive the store.
func TestEvictKnowsUsesOfEarlierStores(t *testing.T) {
	t.Parallel()
	s, c, _, ds := evictable(t, 3)
	readBlob(t, s, ds[0])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := newMessages()
	s = openTest(t, Options{Path: s.home.path, Now: c.now, Logger: slog.New(log), Limits: Limits{MaxSize: 2100}})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, true, false, true)
}

func TestEvictAtCommit(t *testing.T) {
	t.Parallel()
	s, _, log, ds := evictable(t, 3)
	s.SetLimits(Limits{MaxSize: 3500})
	b, d := content(99, 1000)
	putBlob(t, s, b)
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, append(ds, d), false, true, true, true)
}

// Within one minute, any go, but no more than have to.
func TestEvictTakesItsShare(t *testing.T) {
	t.Parallel()
	c, log := newClock(), newMessages()
	s := openTest(t, Options{Now: c.now, Logger: slog.New(log)})
	for k := range 500 {
		b, _ := content(uint64(k), 10)
		putBlob(t, s, b)
	}
	s.SetLimits(Limits{MaxSize: 2500})
	log.wait(t, "evicted blobs")
	if u := s.Usage(); u.Blobs != 245 || u.BlobBytes != 2450 {
		t.Errorf("usage is %+v, want 245 blobs: 2 %% below the limit", u)
	}
}

func TestEvictUnused(t *testing.T) {
	t.Parallel()
	s, c, log, ds := evictable(t, 4)
	c.move(24 * time.Hour)
	readBlob(t, s, ds[1])
	limits := Limits{MaxUnused: 25*time.Hour + 30*time.Minute}
	s.SetLimits(limits)
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, true, true, true)
	s.SetLimits(limits) // a quarter at once
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, ds, false, true, false, true)
}

// A clock that went back must not empty the store.
func TestEvictWithClockThatWentBack(t *testing.T) {
	t.Parallel()
	s, c, _, ds := evictable(t, 2)
	c.move(-10000 * time.Hour)
	s.SetLimits(Limits{MaxUnused: time.Hour})
	b, d := content(99, 1000)
	putBlob(t, s, b)
	s.keeper.eviction.Pass(t.Context())
	wantBlobs(t, s, append(ds, d), true, true, true)
}

func TestEvictForFreeSpace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		free   int64
		want   []bool
	}{
		"bytes":   {Limits{MinFree: 20 << 30}, 20<<30 - 1, []bool{false, false, false}},
		"percent": {Limits{MinFreePercent: 30}, 30<<30 - 1, []bool{false, false, false}},
		"always":  {Limits{}, 1<<30 - 1, []bool{false, false, false}},
		"enough":  {Limits{MinFree: 20 << 30, MinFreePercent: 20}, 20 << 30, []bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, log, ds := evictable(t, 3)
			s.limits.Store(&c.limits)
			setVolume(s, c.free, 100<<30)
			s.limits.Soon()
			if c.want[0] {
				s.keeper.eviction.Pass(t.Context())
			} else {
				log.wait(t, "evicted blobs")
			}
			wantBlobs(t, s, ds, c.want...)
		})
	}
}

// Where not even the deletion can be written down, space is made all the same.
func TestEvictOnFullDisk(t *testing.T) {
	t.Parallel()
	s, _, _, ds := evictable(t, 3)
	setVolume(s, 1000, 100<<30)
	s.keeper.eviction.Pass(t.Context())
	for _, d := range ds {
		_, err := s.StatBlob(t.Context(), d)
		wantErr(t, "stat", err, fs.ErrNotExist)
	}
	setVolume(s, 50<<30, 100<<30)
	for _, d := range ds {
		_, err := s.StatBlob(t.Context(), d)
		wantErr(t, "stat", err, fs.ErrNotExist)
	}
	settle(t, s)
	if u := s.Usage(); u.Blobs != 0 {
		t.Errorf("usage is %+v", u)
	}
}

// Suspended parts go when space is short, running ones never.
func TestEvictSparesRunningParts(t *testing.T) {
	t.Parallel()
	s, _, log, _ := evictable(t, 1)
	b, d := content(98, 1000)
	for _, d := range []digest.Digest{d, oci.Sum([]byte("other"))} {
		p := beginPart(t, s, d, 1000)
		if _, err := p.WriteAt(b[:500], 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Suspend(extents(0, 500)); err != nil {
			t.Fatal(err)
		}
	}
	p := beginPart(t, s, d, 1000)
	wantIngest(t, s, 4)
	if _, err := p.WriteAt(b[:1], 0); err != nil {
		t.Fatal(err)
	}
	setVolume(s, 1<<30-1, 100<<30)
	s.limits.Soon()
	log.wait(t, "evicted blobs")
	wantIngest(t, s, 2)
	if _, err := p.WriteAt(b[500:], 500); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(1000); err != nil {
		t.Fatal(err)
	}
}

// What an upstream merely announces must not empty the store.
func TestWantIsBounded(t *testing.T) {
	t.Parallel()
	s, _, _, ds := evictable(t, 4)
	s.limits.Want(1 << 40)
	s.keeper.eviction.Pass(t.Context())
	wantBlobs(t, s, ds, true, true, true, true)
	if got := s.limits.Refused.Load(); got != 0 {
		t.Errorf("wanted is %d", got)
	}
}

func TestPartLargerThanMaxSize(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{Limits: Limits{MaxSize: 1000}})
	_, d := content(1, 1)
	_, err := s.Part(t.Context(), scope, d, 1001)
	wantErr(t, "part", err, ErrNoSpace)
	wantIngest(t, s, 0)
}

// A file system with bytes, but without inodes, is full: nothing is stored, and some
// blobs go, until there are inodes again.
func TestEvictForInodes(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(1000)
	log := newMessages()
	s := openTest(t, Options{Logger: slog.New(log), seams: seams{inodes: func() (int64, int64, error) { return free.Load(), 1500, nil }}})
	setVolume(s, 1<<50, 1<<50)
	var ds []digest.Digest
	for k := range 6 {
		b, d := content(uint64(k), 1000)
		putBlob(t, s, b)
		ds = append(ds, d)
	}
	free.Store(leastInodes - 1)
	s.home.space.Forget()
	b, d := content(9, 1000)
	p, err := s.Part(t.Context(), scope, d, int64(len(b)))
	if p != nil || !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "inodes") {
		t.Fatalf("part: %v, %v", p, err)
	}
	log.wait(t, "file system is out of inodes: blobs are evicted, and no more are stored meanwhile")
	log.wait(t, "evicted blobs")
	u := s.Usage()
	if u.Blobs == 0 || u.Blobs == 6 || u.FreeInodes != leastInodes-1 || u.TotalInodes != 1500 {
		t.Errorf("usage %+v", u)
	}
	if err := s.PutTag(t.Context(), scope, "3", Tag{Digest: ds[0], Checked: s.now()}); err != nil {
		t.Errorf("the index is not written: %v", err)
	}
	free.Store(leastInodes)
	s.home.space.Forget()
	s.limits.Soon()
	log.wait(t, "file system has inodes again")
	putBlob(t, s, b)
	if got := readBlob(t, s, d); string(got) != string(b) {
		t.Error("another blob is read")
	}
}
