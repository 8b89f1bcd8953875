package volume

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel opens what a Root would, and refuses what that would refuse.
func TestOpenBeneath(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	dir := t.TempDir()
	r, err := openFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f, err := openBeneath(r.dir, ".", dir); errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Fatalf("this kernel cannot, and what follows would test nothing: %v", err)
	} else if err == nil {
		f.Close()
	}
	for _, err := range []error{
		os.WriteFile(outside, []byte("secret"), 0o600),
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o700),
		os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("content"), 0o600),
		os.Symlink("b/file", filepath.Join(dir, "a/inside")),
		os.Symlink(outside, filepath.Join(dir, "a/absolute")),
		os.Symlink("../../"+filepath.Base(filepath.Dir(outside))+"/outside", filepath.Join(dir, "a/relative")),
		os.Symlink("/proc/self/root", filepath.Join(dir, "a/magic")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		want string // empty = refused
	}{
		{"a/b/file", "content"},
		{"a/inside", "content"},
		{"a/absolute", ""},
		{"a/relative", ""},
		{"a/magic" + outside, ""},
		{"../" + filepath.Base(dir) + "/a/b/file", ""},
		{outside, ""},
	} {
		for way, open := range map[string]func() (File, error){
			"openat2": func() (File, error) {
				f, err := openBeneath(r.dir, c.name, c.name)
				return osFile{f}, err
			},
			"either": func() (File, error) { return r.Open(c.name) },
		} {
			f, err := open()
			if err != nil {
				if c.want != "" {
					t.Errorf("%s of %s: %v", way, c.name, err)
				}
				continue
			}
			raw, err := io.ReadAll(f)
			if f.Close(); c.want == "" || string(raw) != c.want || err != nil {
				t.Errorf("%s of %s has %q, %v; want %q", way, c.name, raw, err, c.want)
			}
		}
	}
	if _, err := r.Open("a/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if f, err := r.Open("a/b/file"); err != nil || f.Bare().Name() != filepath.Join(dir, "a/b/file") {
		t.Errorf("it is called %v, %v", f.Bare().Name(), err)
	} else {
		f.Close()
	}
}

// Space that was taken is told from space that was not.
func TestAllocateTellsWhatItHolds(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	taken, err := allocate(f, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || taken != (st.Blocks >= 2048) {
		t.Errorf("taken %v, there are %d blocks, %v", taken, st.Blocks, err)
	}
}
