package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestHistoryIsKept(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	if _, err := s.LoadHistory(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	for _, text := range []string{"one", "another"} {
		if err := s.SaveHistory([]byte(text)); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s)
		if raw, err := s.LoadHistory(); err != nil || string(raw) != text {
			t.Errorf("history is %q, %v", raw, err)
		}
	}
	if report, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(report.Findings) > 0 {
		t.Errorf("check finds %+v, %v", report.Findings, err)
	}
	// It is not ours to say how large it is.
	if err := os.WriteFile(filepath.Join(s.home.path, volume.HistoryFile), bytes.Repeat([]byte{1}, mostKept+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadHistory(); err == nil {
		t.Error("it is read whole")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveHistory(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("error of a closed store is %v", err)
	}
}

// What is known of a bucket is kept beside it.
func TestSharedIsKept(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	if err := errors.Join(s.SaveHistory([]byte("one")), s.SaveShared([]byte("another"))); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if raw, err := s.LoadShared(); err != nil || string(raw) != "another" {
		t.Errorf("it is %q, %v", raw, err)
	}
	if report, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(report.Findings) > 0 {
		t.Errorf("check finds %+v, %v", report.Findings, err)
	}
}

// What the index needs is not taken by the history, and a full disk is told before.
func TestFullDiskTakesNoHistory(t *testing.T) {
	t.Parallel()
	const total = 100 << 30
	s := openTest(t, Options{})
	setVolume(s, volume.Reserve(total)-1, total)
	if err := s.SaveHistory([]byte("much")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("error is %v", err)
	}
	if err := s.CheckWritable(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("it is writable: %v", err)
	}
	setVolume(s, total/2, total)
	if err := errors.Join(s.SaveHistory([]byte("much")), s.CheckWritable()); err != nil {
		t.Error(err)
	}
	wantIngest(t, s, 0)
}
