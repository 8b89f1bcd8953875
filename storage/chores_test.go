package storage

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// mine are files of which some calls panic while it is armed.
type mine struct {
	volume.Files

	armed atomic.Bool
	trips func(verb, name string) bool
}

func (m *mine) over(lower volume.Files) volume.Files { m.Files = lower; return m }

func (m *mine) step(verb, name string) {
	if m.armed.Load() && m.trips(verb, name) {
		panic("a fault of the program: " + verb + " " + name)
	}
}

func (m *mine) Open(name string) (volume.File, error) {
	m.step("open", name)
	return m.Files.Open(name)
}

func (m *mine) OpenFile(name string, flag int, perm fs.FileMode) (volume.File, error) {
	m.step("make", name)
	return m.Files.OpenFile(name, flag, perm)
}

func (m *mine) ReadDir(name string) ([]fs.DirEntry, error) {
	m.step("list", name)
	return m.Files.ReadDir(name)
}

func (m *mine) Remove(name string) error {
	m.step("remove", name)
	return m.Files.Remove(name)
}

// bomb is a context that panics when it is looked at.
type bomb struct {
	context.Context

	looks atomic.Int64 // before it does
}

func (b *bomb) Err() error {
	if b.looks.Add(-1) < 0 {
		panic("a fault of the program")
	}
	return nil
}

// An eviction that panics is logged and counted, rests for longer and longer, and
// is done when it can be. Everything else goes on meanwhile.
func TestPanicOfEviction(t *testing.T) {
	m := &mine{trips: func(verb, name string) bool { return verb == "list" && name == volume.IngestDir }}
	log, panics := newMessages(), atomic.Int64{}
	s := openTest(t, Options{seams: seams{over: m.over, rest: 20 * time.Millisecond}, Logger: slog.New(log), Panicked: func() { panics.Add(1) }})
	first, d := content(1, 1000)
	putBlob(t, s, first)
	tight := Limits{MinFree: 1 << 60}
	m.armed.Store(true)
	began := time.Now()
	s.SetLimits(tight)
	log.wait(t, "storage panicked")
	for range 10_000 {
		s.limits.Soon() // no reason to try again at once
	}
	log.wait(t, "storage panicked")
	if most := int64(time.Since(began)/(20*time.Millisecond)) + 2; panics.Load() < 2 || panics.Load() > most {
		t.Errorf("%d panics, want from 2 to %d", panics.Load(), most)
	}
	s.SetLimits(Limits{})
	second, other := content(2, 1000)
	putBlob(t, s, second)
	if got := readBlob(t, s, other); string(got) != string(second) {
		t.Error("a blob that was put while the eviction rests is another one")
	}
	s.SetLimits(tight)
	m.armed.Store(false)
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, []digest.Digest{d, other}, false, false)
}

// A panic over one blob keeps none of the others.
func TestPanicOverBlob(t *testing.T) {
	t.Parallel()
	first, d := content(1, 1000)
	m := &mine{trips: func(verb, name string) bool { return verb == "remove" && strings.HasSuffix(name, d.Encoded()) }}
	log := newMessages()
	s := openTest(t, Options{seams: seams{over: m.over}, Logger: slog.New(log)})
	putBlob(t, s, first)
	second, other := content(2, 1000)
	putBlob(t, s, second)
	m.armed.Store(true)
	s.SetLimits(Limits{MaxSize: 1})
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, []digest.Digest{d, other}, true, false)
	m.armed.Store(false)
	s.limits.Soon()
	log.wait(t, "evicted blobs")
	wantBlobs(t, s, []digest.Digest{d, other}, false, false)
}

// A scrub that panics begins again.
func TestPanicOfScrub(t *testing.T) {
	t.Parallel()
	m := &mine{trips: func(verb, name string) bool { return verb == "open" && strings.HasPrefix(name, volume.BlobsDir) }}
	s := openTest(t, Options{})
	b, _ := content(1, 1000)
	putBlob(t, s, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m.armed.Store(true)
	log := newMessages()
	// An index that was begun anew makes it look for files that nobody knows.
	_ = openTest(t, Options{Path: s.home.path, seams: seams{over: m.over, rest: time.Millisecond}, Logger: slog.New(log), rebuild: true})
	for range 3 {
		log.wait(t, "storage panicked")
	}
	m.armed.Store(false)
	log.wait(t, "blobs in doubt are verified")
}

// A panic in a check, from within its own goroutines, is an error of the check.
func TestPanicOfCheck(t *testing.T) {
	t.Parallel()
	m := &mine{trips: func(verb, name string) bool { return verb == "list" && strings.Count(name, "/") == 2 }}
	s := openTest(t, Options{seams: seams{over: m.over}})
	b, _ := content(1, 1000)
	putBlob(t, s, b)
	m.armed.Store(true)
	if _, err := s.Check(t.Context(), CheckOptions{}); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("check: %v", err)
	}
	m.armed.Store(false)
	if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(r.Findings) > 0 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
}

// A panic in one write of the index is an error for the one who asked, and none for those
// whose writes were to be made together with it.
func TestPanicOfWrite(t *testing.T) {
	t.Parallel()
	var panics atomic.Int64
	s := openTest(t, Options{Panicked: func() { panics.Add(1) }})
	block, blocked := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.index.Update(0, func(*index.Batch) error { close(blocked); <-block; return nil })
	}()
	<-blocked
	var all sync.WaitGroup
	for k := range 20 {
		all.Go(func() {
			err := s.index.Update(0, func(b *index.Batch) error {
				if k%5 == 0 {
					panic("a fault of the program")
				}
				return b.Put([]byte{'z', byte(k)}, []byte("x"))
			})
			if (err != nil) != (k%5 == 0) {
				t.Errorf("write %d: %v", k, err)
			}
		})
	}
	close(block)
	all.Wait()
	if n := panics.Load(); n < 4 {
		t.Errorf("%d panics are counted", n)
	}
	for k := range 20 {
		_, err := s.index.Get([]byte{'z', byte(k)})
		if (err != nil) != (k%5 == 0) {
			t.Errorf("record %d: %v", k, err)
		}
	}
}

// A count of the blobs that panics half-way counts none of them twice.
func TestPanicOfCount(t *testing.T) {
	t.Parallel()
	const blobs = eviction.CountStep + 100
	s := openTest(t, Options{Quiet: true})
	for !s.Usage().Counted {
		time.Sleep(time.Millisecond) // its own count
	}
	for k := 0; k < blobs; k += 100 {
		err := s.index.Update(0, func(b *index.Batch) error {
			for n := range 100 {
				sum := sha256.Sum256([]byte{byte(k + n), byte((k + n) >> 8)})
				if err := b.PutBlob(volume.ID(append([]byte{volume.SHA256}, sum[:]...)), index.Blob{Size: int64(k + n)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := s.Usage().BlobBytes
	for _, at := range []int64{1, eviction.CountStep - 1, eviction.CountStep + 1, blobs - 1} {
		opened, err := s.index.Begin()
		if err != nil {
			t.Fatal(err)
		}
		*s.home.ledger, s.keeper.census.Counted = volume.Ledger{}, 0
		b := &bomb{Context: context.Background()}
		b.looks.Store(at)
		if s.life.Survives("count", func() { s.keeper.census.Count(b, opened) }) {
			t.Error("no panic")
		}
		s.keeper.census.Count(t.Context(), opened)
		if u := s.Usage(); u.BlobBytes != want || u.Blobs != blobs {
			t.Errorf("panic at %d: %d bytes of %d blobs are counted, want %d", at, u.BlobBytes, u.Blobs, want)
		}
	}
}

// What the house keeper does besides is survived, too, and done later.
func TestPanicOfChores(t *testing.T) {
	t.Parallel()
	m := &mine{trips: func(verb, name string) bool { return strings.Contains(name, index.SnapshotDir) }}
	var panics atomic.Int64
	s := openTest(t, Options{seams: seams{over: m.over, rest: time.Millisecond}, Quiet: true, Panicked: func() { panics.Add(1) }})
	putImage(t, s, "3", 1)
	c := s.life.Chores()
	defer c.End()
	m.armed.Store(true)
	var done int
	for range 3 {
		c.Do("save snapshot", func() { s.keeper.snapshots.Save(t.Context(), true) })
		c.Do("other", func() { done++ })
	}
	if done != 3 || panics.Load() == 0 {
		t.Errorf("%d others, %d panics", done, panics.Load())
	}
	m.armed.Store(false)
	for {
		<-c.Over()
		c.Again()
		names, err := s.keeper.snapshots.List()
		if err != nil || len(names) > 1 {
			t.Errorf("snapshots: %v, %v", names, err)
		}
		if len(names) > 0 || err != nil {
			break
		}
	}

	var background sync.WaitGroup
	before := panics.Load()
	s.keeper.forgetting.soon(&bomb{Context: context.Background()}, &background)
	background.Wait()
	if panics.Load() != before+1 || s.keeper.forgetting.busy.Load() {
		t.Errorf("forgetting: %d panics, busy: %v", panics.Load()-before, s.keeper.forgetting.busy.Load())
	}
}
