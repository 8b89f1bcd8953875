package bundle

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is not complete is nowhere to be seen, and in nobody's way afterwards.
func TestOutputIsAllOrNothing(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tar.zst", "a/"} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			path := folder + "/" + name
			_, x, all := sampleBundle(t)
			begin := func() *Output {
				o, err := Create(path, false)
				if err != nil {
					t.Fatal(err)
				}
				if err := o.Begin(x); err != nil {
					t.Fatal(err)
				}
				return o
			}
			o := begin()
			if _, err := Create(path, false); err == nil || !strings.Contains(err.Error(), "another process is writing") {
				t.Errorf("a second one at a time: %v", err)
			}
			// As a process that dies leaves it.
			if err := o.close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is there: %v", err)
			}
			o = begin()
			if err := o.Discard(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
			o = begin()
			for d := range all {
				delete(all, d)
			}
			if err := errors.Join(o.Close(), o.Commit()); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
				t.Errorf("there are %v, %v", left, err)
			}
		})
	}
}

func TestOutputIsRefused(t *testing.T) {
	folder := t.TempDir()
	full := filepath.Join(folder, "full")
	if err := errors.Join(os.Mkdir(full, 0o700), os.WriteFile(filepath.Join(full, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		full:                "not empty",
		full + "/":          "not empty",
		folder + "/a.zip":   "want the name of a .tar",
		folder + "/a":       "with a slash at its end",
		"/dev/null":         "no file",
		folder + "/x/a.tar": "no such file",
	} {
		if _, err := Create(name, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	link := filepath.Join(folder, "link.tar")
	if err := os.Symlink("real.tar", link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "real.tar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, link)
	if info, err := os.Lstat(link); err != nil || info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
}

// What a process that died has left, however long, is no part of what comes next.
func TestOutputOverLeftovers(t *testing.T) {
	folder := t.TempDir()
	path, clean := filepath.Join(folder, "a.tar"), filepath.Join(folder, "b.tar")
	if err := os.WriteFile(path+partial, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, path)
	output(t, clean)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(clean); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}
