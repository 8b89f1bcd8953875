package integrity

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// records are those of an index that is always there.
type records struct {
	mu    sync.Mutex
	sizes map[volume.ID]int64
	puts  int
}

func (r *records) Size(i volume.ID) (size int64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, known = r.sizes[i]
	return size, known
}

func (r *records) Put(i volume.ID, size int64, _ time.Time, check func() error) error {
	if err := check(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[i] = size
	r.puts++
	return nil
}

func (r *records) Drop(i volume.ID, condition func() bool) {
	if condition() {
		_ = r.DropAll([]volume.ID{i})
	}
}

func (r *records) DropAll(ids []volume.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range ids {
		delete(r.sizes, i)
	}
	return nil
}

func (r *records) DropIf(i volume.ID, condition func() bool) (dropped bool, err error) {
	if _, known := r.Size(i); !known || !condition() {
		return false, nil
	}
	return true, r.DropAll([]volume.ID{i})
}

func (r *records) Lacks(i volume.ID) bool {
	_, known := r.Size(i)
	return !known
}

func (r *records) Shard(h volume.Shard) (map[volume.ID]int64, error) {
	sizes := make(map[volume.ID]int64)
	err := r.each(func(i volume.ID, of volume.Shard, size int64) {
		if of == h {
			sizes[i] = size
		}
	})
	return sizes, err
}

func (r *records) Shards(_ context.Context, fn func(h volume.Shard, size int64)) error {
	return r.each(func(_ volume.ID, h volume.Shard, size int64) { fn(h, size) })
}

func (r *records) each(fn func(volume.ID, volume.Shard, int64)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, size := range r.sizes {
		if h, ok := volume.ShardOf(i); ok {
			fn(i, h, size)
		}
	}
	return nil
}

// bench is a directory of blobs and who judges them.
type bench struct {
	*Judge

	t       *testing.T
	dir     string
	records *records
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	root, err := volume.Open(dir, nil)
	if err == nil {
		err = volume.MakeLayout(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	plenty := func() (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }
	r := &records{sizes: make(map[volume.ID]int64)}
	return &bench{t: t, dir: dir, records: r, Judge: New(Options{
		Root: root, Space: volume.NewSpace(plenty, plenty), State: &volume.StateFile{Now: time.Now, Log: log},
		Life: life.New(log, func() {}, time.Second), Log: log, Now: time.Now, Records: r,
		Filling: func(volume.ID) bool { return false },
	})}
}

// lay writes the file of a blob, and returns its id. Damaged, the bytes do not match it.
func (b *bench) lay(content string, recorded, damaged bool) volume.ID {
	b.t.Helper()
	i, err := volume.IDOf(oci.Sum([]byte(content)))
	if err != nil {
		b.t.Fatal(err)
	}
	raw := []byte(content)
	if damaged {
		raw = bytes.ToUpper(raw)
	}
	name := filepath.Join(b.dir, i.BlobPath())
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, raw, 0o400)); err != nil {
		b.t.Fatal(err)
	}
	if recorded {
		b.records.sizes[i] = int64(len(content))
	}
	return i
}

// want asks what became of a blob.
func (b *bench) want(what string, i volume.ID, there, recorded bool) {
	b.t.Helper()
	_, err := os.Lstat(filepath.Join(b.dir, i.BlobPath()))
	if (err == nil) != there || b.records.Lacks(i) == recorded {
		b.t.Errorf("%s: there %v, recorded %v; want %v, %v", what, err == nil, !b.records.Lacks(i), there, recorded)
	}
}

func (b *bench) verify(i volume.ID) error {
	b.t.Helper()
	f, err := b.Root.Open(i.BlobPath())
	if err != nil {
		b.t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		b.t.Fatal(err)
	}
	err = b.Verify(b.t.Context(), i, f, info)
	if err == nil {
		f.Close()
	}
	return err
}

// What matches its digest is recorded, and what does not is gone, with its record.
func TestVerify(t *testing.T) {
	b := newBench(t)
	sound, damaged := b.lay("sound", false, false), b.lay("damaged", true, true)
	if b.Trusts(sound, 5) {
		t.Error("a blob without a record is trusted")
	}
	if err := b.verify(sound); err != nil {
		t.Error(err)
	}
	if err := b.verify(damaged); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged: %v", err)
	}
	b.want("sound", sound, true, true)
	b.want("damaged", damaged, false, false)
	if !b.Trusts(sound, 5) || b.Trusts(sound, 6) || b.Trusts(damaged, 7) || b.Damaged() != 1 {
		t.Errorf("trusts %v, %v, %v; %d damaged", b.Trusts(sound, 5), b.Trusts(sound, 6), b.Trusts(damaged, 7), b.Damaged())
	}
}

// A blob that is being removed is not recorded.
func TestVerifyBesideRemoval(t *testing.T) {
	b := newBench(t)
	i := b.lay("going", false, false)
	end := b.Removals.Begin([]volume.ID{i})
	if err := b.verify(i); err != nil {
		t.Error(err)
	}
	b.want("while it goes", i, true, false)
	end()
	if err := b.verify(i); err != nil {
		t.Error(err)
	}
	b.want("after that", i, true, true)
}

// The record of a blob that was condemned may be about to be dropped: it is written again
// once the blob turned out to be sound.
func TestCondemnedIsRecordedAgain(t *testing.T) {
	b := newBench(t)
	i := b.lay("sound", true, false)
	for _, want := range []int{0, 1, 1} {
		if err := b.verify(i); err != nil || b.records.puts != want {
			t.Errorf("recorded %d times, want %d: %v", b.records.puts, want, err)
		}
		if want == 0 {
			b.Suspects.Condemn(i)
		}
	}
}

// A scrub and a check come to the same blobs, and to the same end.
func TestOneWalker(t *testing.T) {
	for name, walk := range map[string]func(*bench) error{
		"scrub": func(b *bench) error {
			done, err := b.Scrub(t.Context(), nil, nil)
			if err == nil && (done.Blobs != 3 || done.Damaged != 1) {
				t.Errorf("scrubbed are %+v", done)
			}
			return err
		},
		"check": func(b *bench) error {
			report, err := b.Check(t.Context(), CheckOptions{Verify: true, Repair: true}, Others{
				Index:  func(context.Context, *Check) (bool, error) { return true, nil },
				Tables: func(context.Context, *Check) error { return nil },
			})
			if found, left := report.Found(); err == nil && (report.Blobs != 2 || found != 3 || left != 0 || report.Quarantined != 1) {
				t.Errorf("report is %+v", report)
			}
			return err
		},
	} {
		b := newBench(t)
		sound, adopted, damaged := b.lay("sound", true, false), b.lay("adopted", false, false), b.lay("damaged", true, true)
		missing := b.lay("missing", true, false)
		if err := b.Unlink(missing); err != nil {
			t.Fatal(err)
		}
		if err := walk(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.want(name+": sound", sound, true, true)
		b.want(name+": adopted", adopted, true, true)
		b.want(name+": damaged", damaged, false, false)
		b.want(name+": missing", missing, false, name == "scrub")
	}
}

// What was placed is trusted again, and goes when it is withdrawn, unless another took
// its place.
func TestPlaceAndWithdraw(t *testing.T) {
	b := newBench(t)
	i := b.lay("first", true, false)
	b.Suspects.Condemn(i)
	if err := b.Place(i, func() error { return nil }); err != nil || len(b.Suspects.Condemned()) != 0 {
		t.Errorf("placed: %v, condemned %v", err, b.Suspects.Condemned())
	}
	open := func() volume.File {
		t.Helper()
		f, err := b.Root.Open(i.BlobPath())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first := open()
	if err := b.Unlink(i); err != nil {
		t.Fatal(err)
	}
	b.lay("first", true, false)
	if err := b.Withdraw(i, first); err != nil {
		t.Error(err)
	}
	b.want("another", i, true, true)
	if err := b.Withdraw(i, open()); err != nil {
		t.Error(err)
	}
	b.want("withdrawn", i, false, false)
}

// A pass in the background that came to its end is told of, one that was interrupted is not.
func TestScrubTellsItsEnd(t *testing.T) {
	b := newBench(t)
	b.lay("sound", true, false)
	s := &Scrubber{Judge: b.Judge}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.scrubOnce(ended)
	if at := b.LastScrub.At(); !at.IsZero() {
		t.Errorf("interrupted, it was scrubbed at %v", at)
	}
	s.scrubOnce(t.Context())
	if at := b.LastScrub.At(); at.IsZero() || !at.Equal(b.State.Scrubbed) {
		t.Errorf("scrubbed at %v, want %v", at, b.State.Scrubbed)
	}
}
