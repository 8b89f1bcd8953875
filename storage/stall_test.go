package storage

import (
	"errors"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// stall keeps the writer busy until release is closed.
func stall(t *testing.T, s *Store) (release chan struct{}) {
	t.Helper()
	release, busy := make(chan struct{}), make(chan struct{})
	var once bool
	go func() {
		_ = s.index.Update(0, func(*index.Batch) error {
			if !once {
				once = true
				close(busy)
			}
			<-release
			return nil
		})
	}()
	<-busy
	return release
}

// An index that takes no writes keeps nobody waiting for long, and only the first
// ones at all. What they wrote is recorded when it does again.
func TestStalledIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	release := stall(t, s)
	b, d := content(1, 1000)
	m := oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}
	if err := s.PutManifest(t.Context(), scope, m, nil); !errors.Is(err, ErrStalled) {
		t.Errorf("put manifest: %v", err)
	}
	for range 100 {
		if err := s.PutTag(t.Context(), scope, "later", Tag{Digest: d}); !errors.Is(err, ErrStalled) {
			t.Errorf("put tag: %v", err)
		}
	}
	if _, err := s.Tag(t.Context(), scope, "later"); err == nil {
		t.Error("a tag is known that was not written")
	}
	if putBlob(t, s, b) != d || string(readBlob(t, s, d)) != string(b) {
		t.Error("blob has other bytes")
	}
	close(release)
	if err := s.index.Update(0, func(*index.Batch) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTag(t.Context(), scope, "now", Tag{Digest: d}); err != nil {
		t.Errorf("put tag: %v", err)
	}
	if _, err := s.Manifest(t.Context(), d); err != nil {
		t.Errorf("manifest: %v", err)
	}
}

// Close does not wait for it either. What is stalled is left behind.
func TestCloseOfStalledIndex(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: t.TempDir(), seams: seams{patience: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	release := stall(t, s)
	if err := s.Close(); !errors.Is(err, ErrStalled) {
		t.Errorf("close: %v", err)
	}
	close(release)
	if !s.index.Stop(time.Minute) {
		t.Error("the writer does not end")
	}
	if err := s.index.Release(); err != nil {
		t.Error(err)
	}
}

// within fails a test in which something takes longer than anybody would wait.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s hangs", what)
	}
}

// Neither does who evicts or removes keep anybody waiting for good, though these have
// to wait for the index, nor does who is kept waiting keep the store from closing.
func TestStalledIndexHoldsNoLocks(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: t.TempDir(), seams: seams{patience: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := content(1, 1000)
	putBlob(t, s, b)
	if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: oci.Sum(b), Size: 1000}); err != nil {
		t.Fatal(err)
	}
	other, d := content(2, 1000)
	layBlob(t, s.home.path, d, other)
	release := stall(t, s)
	evicting, removing := make(chan struct{}), make(chan error, 1)
	i, _ := volume.IDOf(oci.Sum(b))
	go func() {
		defer close(evicting)
		_, _ = s.keeper.eviction.Remover.Remove([]volume.ID{i}, func(volume.ID) bool { return false })
	}()
	go func() {
		_, err := s.Remove(t.Context(), RemoveOptions{Selection: oci.Selection{Upstream: scope.Upstream, Repository: scope.Repository}})
		removing <- err
	}()
	for s.index.Queued() < 2 || !s.Pinning.Taken() {
		time.Sleep(time.Millisecond) // both wait for the index
	}
	within(t, "open blob", func() {
		f, _, err := s.OpenBlob(t.Context(), d)
		if err != nil {
			t.Error(err)
			return
		}
		f.Close()
	})
	within(t, "pin", func() {
		p, err := oci.ParsePin("docker.io/library/alpine:3")
		if err != nil {
			t.Error(err)
			return
		}
		_, err = s.Pin(t.Context(), p)
		wantErr(t, "pin", err, ErrStalled)
	})
	within(t, "close", func() { wantErr(t, "close", s.Close(), ErrStalled) })
	within(t, "eviction", func() { <-evicting })
	within(t, "removal", func() { wantErr(t, "remove", <-removing, ErrStalled) })
	close(release)
	if !s.index.Stop(time.Minute) {
		t.Error("the writer does not end")
	}
	if err := s.index.Release(); err != nil {
		t.Error(err)
	}
}

// A call that does not come to its end holds up Close for no longer than its patience.
func TestCloseLeavesACallBehind(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: t.TempDir(), seams: seams{patience: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.life.Enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "close", func() { wantErr(t, "close", s.Close(), ErrStalled) })
	wantErr(t, "a call after that", s.life.Enter(t.Context()), ErrClosed)
	wantErr(t, "write", s.index.Update(0, func(*index.Batch) error { return nil }), ErrStalled)
	if _, err := s.index.Begin(); err != nil {
		t.Errorf("what it uses is gone: %v", err)
	}
	s.life.Leave()
	if !s.index.Stop(time.Minute) {
		t.Error("the writer does not end")
	}
	if err := s.index.Release(); err != nil {
		t.Error(err)
	}
}
