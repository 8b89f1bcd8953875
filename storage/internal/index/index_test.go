package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// openTest opens an index that is closed with the test.
func openTest(t *testing.T, over func(volume.Files) volume.Files) *Index {
	t.Helper()
	dir := t.TempDir()
	root, err := volume.Open(dir, over)
	if err != nil {
		t.Fatal(err)
	}
	if err := volume.MakeLayout(root); err != nil {
		t.Fatal(err)
	}
	plenty := func() (free, total int64, err error) { return 1 << 50, 1 << 50, nil }
	state, log := &volume.StateFile{}, slog.New(slog.DiscardHandler)
	x := New(Options{
		Path: dir, Root: root, Space: volume.NewSpace(plenty, plenty), Life: life.New(log, func() {}, time.Second), Log: log, Now: time.Now,
		State: func() *volume.State { return &state.State }, Note: func(change func(*volume.State)) { _ = state.Write(change) },
		Patience: ClosePatience, Counted: func(volume.Tally) {}, Linked: func(volume.ID) {}, Damaged: func() {},
	})
	if err := x.Open(false); err != nil {
		t.Fatal(err)
	}
	x.Start()
	t.Cleanup(func() {
		x.Opened().Discard()
		if !x.Stop(time.Minute) {
			t.Error("the writer does not end")
		}
		if closed, err := x.Close(func() error { return nil }); err != nil || !closed {
			t.Errorf("closed: %v, %v", closed, err)
		}
		root.Close()
	})
	return x
}

// putBytes writes so many bytes that do not repeat.
func putBytes(t *testing.T, x *Index, k, size int) {
	t.Helper()
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(k))
	value := make([]byte, size)
	rand.NewChaCha8(seed).Read(value)
	if err := x.Update(size, func(b *Batch) error {
		return b.Set(binary.BigEndian.AppendUint64([]byte{TableManifest}, uint64(k)), value)
	}); err != nil {
		t.Fatal(err)
	}
}

// What a batch reads includes what it wrote; others see all of it or nothing.
func TestBatch(t *testing.T) {
	t.Parallel()
	x := openTest(t, nil)
	failed := errors.New("this one fails")
	for _, want := range []error{failed, nil} {
		err := x.Update(10, func(b *Batch) error {
			if err := b.Set([]byte("xa"), []byte("1")); err != nil {
				return err
			}
			if got, err := b.Get([]byte("xa")); err != nil || string(got) != "1" {
				t.Errorf("got %q, %v of what was written", got, err)
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("update: %v, want %v", err, want)
		}
		if _, err := x.Get([]byte("xa")); errors.Is(err, fs.ErrNotExist) != (want != nil) {
			t.Errorf("get after %v: %v", want, err)
		}
	}
}

// A transaction sees the index as it was, in order of the keys.
func TestTxn(t *testing.T) {
	t.Parallel()
	x := openTest(t, nil)
	put := func(keys ...string) {
		t.Helper()
		if err := x.Update(10, func(b *Batch) (err error) {
			for _, key := range keys {
				err = errors.Join(err, b.Set([]byte(key), []byte("v"+key)))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	put("xc", "xa", "y", "xb")
	txn, err := x.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	put("xd")
	var seen []string
	err = txn.Each(t.Context(), []byte("x"), func(key, value []byte) error {
		seen = append(seen, string(key)+string(value))
		return nil
	})
	if want := []string{"xavxa", "xbvxb", "xcvxc"}; err != nil || !cmp.Equal(seen, want) {
		t.Errorf("saw %v, %v, want %v", seen, err, want)
	}
	some, next, err := txn.Step([]byte("x"), []byte("xb"), false, 1)
	if want := []Record{{Key: []byte("xb")}}; err != nil || !cmp.Equal(some, want) || !bytes.Equal(next, []byte("xc")) {
		t.Errorf("step: %v, %q, %v", some, next, err)
	}
	if txn.Has([]byte("xd")) || !txn.Lacks([]byte("xd")) || !txn.HasAny([]byte("y")) || txn.HasAny([]byte("z")) {
		t.Error("it has other records")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := txn.Each(ctx, nil, func(_, _ []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("it goes on after its context: %v", err)
	}
}

// What was read lately is read once, until it changes.
func TestRecall(t *testing.T) {
	t.Parallel()
	x := openTest(t, nil)
	i, err := volume.IDOf(oci.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	put := func(size int64) {
		t.Helper()
		if err := x.Update(10, func(b *Batch) error { return b.PutBlob(i, Blob{Size: size}) }); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	read := func() ([]byte, error) { reads++; return x.Get(TableKey(TableBlob, i)) }
	for k, size := range []int64{5, 6} {
		put(size)
		for range 3 {
			r, err := Recall(x.Records, TableKey(TableBlob, i), read, DecodeBlob)
			if err != nil || r.Size != size || reads != k+1 {
				t.Errorf("got %+v, %v with %d reads", r, err, reads)
			}
		}
	}
}
