package storage

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/oci"
)

// A file system that nobody may write to serves what the store holds, and takes no
// more. Once it may be written, the index is opened as ever.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, ""); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(mount, "store")
	roomy := func() (int64, int64, error) { return 50 << 30, 100 << 30, nil }
	s, err := Open(t.Context(), Options{Path: dir, seams: seams{volume: roomy}})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", mount, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	for range 2 { // the second finds what the first could not write
		s = openTest(t, Options{Path: dir, seams: seams{retry: 10 * time.Millisecond, volume: roomy}})
		wantReadable(t, s, 5)
		if trusted, err := s.HasBlob(t.Context(), oci.Sum([]byte("blob"))); err != nil || !trusted {
			t.Errorf("blob is trusted: %v, %v", trusted, err)
		}
		if u := s.Usage(); u.IndexOpen || u.IndexError == "" || u.IndexRebuilds != 0 {
			t.Errorf("usage is %+v", u)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	log := newMessages()
	s = openTest(t, Options{Path: dir, Logger: slog.New(log), seams: seams{retry: 10 * time.Millisecond, volume: roomy}})
	wantReadable(t, s, 5)
	remount(0)
	log.wait(t, "index is open")
	wantWorking(t, s)
	if manifests, tags := known(t, s, 5); manifests != 5 || tags != 5 {
		t.Errorf("%d manifests and %d tags are known", manifests, tags)
	}
	s = reopen(t, s)
	wantWorking(t, s)
	wantAside(t, dir, 0)
}
