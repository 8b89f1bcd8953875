package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// A store that a newer program has written is left as it is, to the last byte.
func TestOpenRefusesNewerStore(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	want, d := content(1, 5000)
	putBlob(t, s, want)
	putImage(t, s, "3", 1)
	dir := s.home.path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, volume.VersionFile)
	ours, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(`{"layout":2,"more":"than we know"}`), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := everything(t, dir)
	for range 2 {
		for what, open := range map[string]func(context.Context, Options) (*Store, error){"open": Open, "rebuild": Rebuild} {
			s, err := open(t.Context(), Options{Path: dir})
			if err == nil {
				s.Close()
				t.Fatal(what + " works")
			}
			for _, word := range []string{dir, "layout 2", "layout 1", "the version that wrote it"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %v, want %q in it", what, err, word)
				}
			}
		}
	}
	if after := everything(t, dir); !reflect.DeepEqual(before, after) {
		t.Error("the directory was changed")
	}
	if err := os.WriteFile(name, ours, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: dir})
	if got := readBlob(t, s, d); string(got) != string(want) {
		t.Error("the blob is lost")
	}
	if _, err := s.Tag(t.Context(), scope, "3"); err != nil {
		t.Error(err)
	}
}

// everything returns the content of all files by their names.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		files[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
