package storage

import (
	"errors"
	"testing"
)

// A disk may have no room for the file LOCK. Whoever comes when there is, is
// kept out all the same.
func TestLockDirectory(t *testing.T) {
	dir := t.TempDir()
	root, err := openRoot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := lockDirectory(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockDirectory(root)
	wantErr(t, "lock directory twice", err, errHeld)
	_, err = Open(t.Context(), Options{Path: dir, LockWait: -1})
	wantErr(t, "open", err, ErrLocked)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: dir})
	if f, err := lockDirectory(root); !errors.Is(err, errHeld) {
		t.Errorf("the directory of an open store is locked: %v", err)
		f.Close()
	}
	putBlob(t, s, []byte("x"))
}
