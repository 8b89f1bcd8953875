package volume

import (
	"errors"
	"testing"
)

// A disk may have no room for the file LOCK. Whoever comes when there is, is
// kept out all the same.
func TestLockDirectory(t *testing.T) {
	dir := t.TempDir()
	root, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := lockDirectory(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockDirectory(root)
	if !errors.Is(err, errHeld) {
		t.Errorf("lock directory twice: %v", err)
	}
	if _, err = Lock(t.Context(), root, -1); !errors.Is(err, ErrLocked) {
		t.Errorf("lock: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = Lock(t.Context(), root, -1); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f, err := lockDirectory(root); !errors.Is(err, errHeld) {
		t.Errorf("the directory can be locked beside it: %v", err)
		f.Close()
	}
}
