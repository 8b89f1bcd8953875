package storage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// kernelRun tells this run of the kernel from others; empty = unknown.
func kernelRun() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// openState opens the state of a directory.
func openState(root volume.Files) (*volume.StateFile, error) {
	st := &volume.StateFile{}
	return st, st.Open(root)
}

// reboot makes the state of a closed store that of one whose machine went down.
func reboot(t *testing.T, dir string, change func(*volume.State)) {
	t.Helper()
	root, err := volume.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := openState(root)
	if err == nil {
		err = st.Write(func(st *volume.State) { st.Clean, st.Boot = false, "earlier"; change(st) })
	}
	if err := errors.Join(err, st.Close(), root.Close()); err != nil {
		t.Fatal(err)
	}
}

// After the machine went down, a blob that was written last is not served before
// it was verified.
func TestNewBlobsAreVerifiedAfterReboot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*volume.State)
		age    time.Duration // of the blob
		served bool
	}{
		"new":             {func(st *volume.State) { st.Checkpoint = time.Now().Add(-24 * time.Hour) }, 0, false},
		"within margin":   {func(st *volume.State) { st.Checkpoint = time.Now().Add(-time.Hour) }, 90 * time.Minute, false},
		"no checkpoint":   {func(st *volume.State) { st.Checkpoint = time.Time{} }, 9000 * time.Hour, false},
		"old":             {func(st *volume.State) { st.Checkpoint = time.Now().Add(-time.Hour) }, 3 * time.Hour, true},
		"only a crash":    {func(st *volume.State) { st.Boot = kernelRun() }, 0, true},
		"closed properly": {func(st *volume.State) { st.Clean = true }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			b, _ := content(1, 5000)
			d := putBlob(t, s, b)
			whole, _ := content(2, 5000)
			other := putBlob(t, s, whole)
			when := time.Now().Add(-c.age)
			for _, d := range []digest.Digest{d, other} {
				if err := os.Chtimes(blobFile(t, s, d), when, when); err != nil {
					t.Fatal(err)
				}
			}
			flipBit(t, s, d, 20_000)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			reboot(t, s.home.path, c.change)
			s = openTest(t, Options{Path: s.home.path})
			f, _, err := s.OpenBlob(t.Context(), d)
			if err == nil {
				f.Close()
			}
			if c.served && err != nil || !c.served && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("damaged blob: %v, want served %v", err, c.served)
			}
			for range 2 {
				if got := readBlob(t, s, other); string(got) != string(whole) {
					t.Error("whole blob has other bytes")
				}
			}
		})
	}
}

// The doubt outlives the store until it is cleared, and ends then.
func TestDoubtIsCleared(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, _ := content(1, 5000)
	d := putBlob(t, s, b)
	flipBit(t, s, d, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.home.path, func(*volume.State) {})
	log := newMessages()
	s = openTest(t, Options{Path: s.home.path, Logger: slog.New(log)})
	log.wait(t, "blobs in doubt are verified")
	if u := s.Usage(); u.QuarantinedBlobs != 1 {
		t.Errorf("usage is %+v", u)
	}
	s = reopen(t, s)
	if !s.judge.Suspects.Settled() {
		t.Error("blobs are in doubt")
	}
}

// Many who want the same blob verify it once, and all get the same answer.
func TestDoubtIsSettledOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1<<20)
	putBlob(t, s, b)
	flipBit(t, s, d, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.home.path, func(*volume.State) {})
	s = openTest(t, Options{Path: s.home.path, Quiet: true})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, _, err := s.OpenBlob(t.Context(), d)
			wantErr(t, "open", err, fs.ErrNotExist)
		})
	}
	wg.Wait()
	if u := s.Usage(); u.QuarantinedBlobs != 1 {
		t.Errorf("usage is %+v", u)
	}
}
