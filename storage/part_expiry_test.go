package storage

import (
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestSuspendedPartExpires(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	b, d := content(1, 1000)
	p := beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Suspend(extents(0, 1000)); err != nil {
		t.Fatal(err)
	}
	c.move(maxIdle - time.Minute)
	s = reopen(t, s)
	wantIngest(t, s, 2)
	c.move(2 * time.Minute)
	s = reopen(t, s)
	wantIngest(t, s, 0)
}

// With a full disk the store takes nothing in, says so, and goes on reading.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	setVolume(s, 10<<30, 100<<30)
	_, other := content(2, 1)
	_, third := content(3, 1)
	_, err := s.Part(t.Context(), scope, other, 10<<30)
	wantErr(t, "blob that does not fit", err, ErrNoSpace)
	wantErr(t, "blob that does not fit", err, syscall.ENOSPC)
	p := beginPart(t, s, other, 1<<20)
	if _, err := p.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	f, _, err := s.OpenBlob(t.Context(), d) // it stays
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	setVolume(s, volume.Reserve(100<<30)-1, 100<<30)
	_, err = beginPart(t, s, third, -1).WriteAt([]byte("x"), 0)
	wantErr(t, "blob of unknown size", err, ErrNoSpace)
	wantErr(t, "tag", s.PutTag(t.Context(), scope, "3", Tag{Digest: d}), ErrNoSpace)
	if err := p.Commit(1); err != nil {
		t.Errorf("a blob that cannot be recorded is not an error: %v", err)
	}
	if got := readBlob(t, s, other); string(got) != "x" {
		t.Errorf("read %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
