package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// lockedFiles do not let a file be opened.
type lockedFiles struct {
	volume.Files

	name *atomic.Pointer[string]
	err  syscall.Errno
}

func (f lockedFiles) Open(name string) (volume.File, error) {
	if locked := f.name.Load(); locked != nil && *locked == name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
	}
	return f.Files.Open(name)
}

// A blob that is there, but cannot be opened, is absent to all who ask, and is
// replaced by the next fill.
func TestBlobThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EIO, syscall.ELOOP} {
		var locked atomic.Pointer[string]
		s := openTest(t, Options{seams: seams{over: func(f volume.Files) volume.Files { return lockedFiles{f, &locked, errno} }}})
		b, d := content(1, 1000)
		putBlob(t, s, b)
		i, _ := volume.IDOf(d)
		name := i.BlobPath()
		locked.Store(&name)
		for range 2 {
			_, err := s.HasBlob(t.Context(), d)
			wantErr(t, "has", err, fs.ErrNotExist)
			wantErr(t, "has", err, errno)
			_, err = s.StatBlob(t.Context(), d)
			wantErr(t, "stat", err, fs.ErrNotExist)
			_, _, err = s.OpenBlob(t.Context(), d)
			wantErr(t, "open", err, fs.ErrNotExist)
			wantErr(t, "verify", s.VerifyBlob(t.Context(), d), fs.ErrNotExist)
		}
		before, err := s.home.root.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		putBlob(t, s, b)
		if now, err := s.home.root.Lstat(name); err != nil || os.SameFile(now, before) {
			t.Errorf("%v: it was not replaced", errno)
		}
		locked.Store(nil)
		if !bytes.Equal(readBlob(t, s, d), b) {
			t.Error("other bytes")
		}
		if u := s.Usage(); u.Blobs != 1 || u.BlobBytes != 1000 || u.QuarantinedBlobs != 0 {
			t.Errorf("usage is %+v", u)
		}
	}
}

// Too many open files say nothing of a blob.
func TestBlobBesideTooManyOpenFiles(t *testing.T) {
	t.Parallel()
	var locked atomic.Pointer[string]
	s := openTest(t, Options{seams: seams{over: func(f volume.Files) volume.Files { return lockedFiles{f, &locked, syscall.EMFILE} }}})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	i, _ := volume.IDOf(d)
	name := i.BlobPath()
	locked.Store(&name)
	if _, err := s.HasBlob(t.Context(), d); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("has: %v", err)
	}
	if _, _, err := s.OpenBlob(t.Context(), d); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
}
