package storage

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// reboot makes the state of a closed store that of one whose machine went down.
func reboot(t *testing.T, dir string, change func(*state)) {
	t.Helper()
	root, err := openRoot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := openState(root)
	if err == nil {
		err = st.write(func(st *state) { st.clean, st.boot = false, "earlier"; change(st) })
	}
	if err := errors.Join(err, st.close(), root.Close()); err != nil {
		t.Fatal(err)
	}
}

// After the machine went down, a blob that was written last is not served before
// it was verified.
func TestNewBlobsAreVerifiedAfterReboot(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*state)
		age    time.Duration // of the blob
		served bool
	}{
		"new":             {func(st *state) { st.checkpoint = time.Now().Add(-24 * time.Hour) }, 0, false},
		"within margin":   {func(st *state) { st.checkpoint = time.Now().Add(-time.Hour) }, 90 * time.Minute, false},
		"no checkpoint":   {func(st *state) { st.checkpoint = time.Time{} }, 9000 * time.Hour, false},
		"old":             {func(st *state) { st.checkpoint = time.Now().Add(-time.Hour) }, 3 * time.Hour, true},
		"only a crash":    {func(st *state) { st.boot = bootID() }, 0, true},
		"closed properly": {func(st *state) { st.clean = true }, 0, true},
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
			reboot(t, s.path, c.change)
			s = openTest(t, Options{Path: s.path})
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
	s := openTest(t, Options{})
	b, _ := content(1, 5000)
	d := putBlob(t, s, b)
	flipBit(t, s, d, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.path, func(*state) {})
	log := newMessages()
	s = openTest(t, Options{Path: s.path, Logger: slog.New(log)})
	log.wait(t, "blobs in doubt are verified")
	if u := s.Usage(); u.QuarantinedBlobs != 1 {
		t.Errorf("usage is %+v", u)
	}
	s = reopen(t, s)
	if !s.suspects.to.IsZero() {
		t.Errorf("blobs are in doubt up to %v", s.suspects.to)
	}
}

// Many who want the same blob verify it once, and all get the same answer.
func TestDoubtIsSettledOnce(t *testing.T) {
	s := openTest(t, Options{})
	b, d := content(1, 1<<20)
	putBlob(t, s, b)
	s.suspects.mu.Lock()
	s.suspects.from, s.suspects.to = time.Unix(1, 0), time.Now().Add(time.Hour)
	s.suspects.changed()
	flipBit(t, s, d, 1)
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

func TestCheckpoint(t *testing.T) {
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.state.file = nil
	for _, step := range []struct{ wait, age time.Duration }{
		{checkpointEvery, 0},
		{checkpointEvery - time.Second, checkpointEvery - time.Second},
		{time.Second, 0},
		{-100 * checkpointEvery, 0},
	} {
		c.move(step.wait)
		lock, err := os.Open(s.path)
		if err != nil {
			t.Fatal(err)
		}
		s.lock = osFile{lock}
		s.checkpoint()
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
		if age := c.now().Sub(s.state.checkpoint); bootID() != "" && age != step.age {
			t.Errorf("after %v the checkpoint is %v old, want %v", step.wait, age, step.age)
		}
	}
}

// Each reason for doubt counts from the moment that there is one, also where there was
// none before, and until it is gone.
func TestEachDoubtCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	_, d := content(1, 10)
	i, err := idOf(d)
	if err != nil {
		t.Fatal(err)
	}
	var u suspects
	want := func(step string, recorded, doubt bool) {
		t.Helper()
		for range 2 { // an answer changes nothing
			if got := u.doubt(i, info, recorded); got != doubt {
				t.Errorf("%s: in doubt: %v, want %v", step, got, doubt)
			}
		}
	}
	want("a record", true, false)
	want("no record", false, true)
	u.condemn(i)
	want("condemned", true, true)
	u.absolve(i)
	want("absolved", true, false)
	u.mu.Lock()
	u.from, u.to = info.ModTime(), info.ModTime()
	u.changed()
	want("of the time in doubt", true, true)
	u.trust(i)
	want("verified", true, false)
	u.clear()
	want("no time in doubt", true, false)
	u.trust(i)
	want("verified, and not recorded", false, false)
	u.forget(i)
	want("forgotten", false, true)
}
