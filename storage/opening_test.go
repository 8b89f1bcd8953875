package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// childEnv makes the test binary a process that opens a store: the directory.
const childEnv = "PULLGATE_STORAGE_OPEN"

// openInChild opens a store and uses it, in a process that may die of it.
func openInChild(dir string) int {
	s, err := Open(context.Background(), Options{Path: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err == nil {
		b, d := content(1, 100)
		err = errors.Join(
			s.PutManifest(context.Background(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil),
			s.PutTag(context.Background(), scope, "new", Tag{Digest: d}))
		fmt.Println("rebuilds", s.Usage().IndexRebuilds)
		err = errors.Join(err, s.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// filled returns the directory of a closed store with manifests, tags and blobs,
// all in one table of the index.
func filled(t *testing.T, n int) string {
	t.Helper()
	s := openTest(t, Options{})
	fill(t, s, n)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.home.path
}

func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	for k := range n {
		b, d := content(uint64(k), 2000)
		m := oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}
		if err := errors.Join(s.PutManifest(t.Context(), scope, m, nil), s.PutTag(t.Context(), scope, "t"+strconv.Itoa(k), Tag{Digest: d, Size: 2000})); err != nil {
			t.Fatal(err)
		}
	}
	putBlob(t, s, []byte("blob"))
}

// known counts which of the manifests and tags of fill are there.
func known(t *testing.T, s *Store, n int) (manifests, tags int) {
	t.Helper()
	for k := range n {
		b, d := content(uint64(k), 2000)
		if m, err := s.Manifest(t.Context(), d); err == nil && bytes.Equal(m.Bytes, b) {
			manifests++
		}
		if tag, err := s.Tag(t.Context(), scope, "t"+strconv.Itoa(k)); err == nil && tag.Digest == d {
			tags++
		}
	}
	return manifests, tags
}

// wantWorking uses a store in every way.
func wantWorking(t *testing.T, s *Store) {
	t.Helper()
	if got := readBlob(t, s, oci.Sum([]byte("blob"))); string(got) != "blob" {
		t.Errorf("old blob reads %q", got)
	}
	b, d := content(4711, 100)
	if err := errors.Join(
		s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil),
		s.PutTag(t.Context(), scope, "new", Tag{Digest: d})); err != nil {
		t.Fatal(err)
	}
	putBlob(t, s, b)
	if !bytes.Equal(readBlob(t, s, d), b) {
		t.Error("new blob has other bytes")
	}
	if _, err := s.Manifest(t.Context(), d); err != nil {
		t.Error(err)
	}
	if tag, err := s.Tag(t.Context(), scope, "new"); err != nil || tag.Digest != d {
		t.Errorf("tag is %+v, %v", tag, err)
	}
}

// metaFile returns the file of the index that matches the pattern.
func metaFile(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, volume.MetaDir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file of the index matches %s: %v", pattern, err)
	}
	return names[0]
}

// rewrite changes a file of the index.
func rewrite(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantAside(t *testing.T, dir string, want int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, index.BadMeta+"*"))
	if err != nil || len(names) != want {
		t.Errorf("set aside are %v, %v, want %d", names, err, want)
	}
}

// Whatever the state of the index, the store opens soon, and works.
func TestOpenSurvivesIndexDamage(t *testing.T) {
	t.Parallel()
	empty := func([]byte) []byte { return nil }
	for name, c := range map[string]struct {
		damage   func(t *testing.T, dir string)
		rebuilds int64 // at once
	}{
		"empty memtable":  {func(t *testing.T, dir string) { plant(t, dir, "00009.mem") }, 0},
		"empty value log": {func(t *testing.T, dir string) { plant(t, dir, "000009.vlog") }, 0},
		"empty table":     {func(t *testing.T, dir string) { plant(t, dir, "000099.sst") }, 0},
		"manifest cut": {func(t *testing.T, dir string) {
			rewrite(t, metaFile(t, dir, "MANIFEST"), func(b []byte) []byte { return b[:len(b)-7] })
		}, 0},
		"manifest empty": {func(t *testing.T, dir string) { rewrite(t, metaFile(t, dir, "MANIFEST"), empty) }, 1},
		"manifest with a tail": {func(t *testing.T, dir string) {
			tail, _ := content(7, 40)
			rewrite(t, metaFile(t, dir, "MANIFEST"), func(b []byte) []byte { return append(b, tail...) })
		}, 1},
		"manifest gone":      {func(t *testing.T, dir string) { erase(t, metaFile(t, dir, "MANIFEST")) }, 0},
		"key registry empty": {func(t *testing.T, dir string) { rewrite(t, metaFile(t, dir, "KEYREGISTRY"), empty) }, 1},
		"table gone":         {func(t *testing.T, dir string) { erase(t, metaFile(t, dir, "*.sst")) }, 1},
		"bytes flipped in a table": {func(t *testing.T, dir string) {
			rewrite(t, metaFile(t, dir, "*.sst"), func(b []byte) []byte {
				for k := range 8 {
					b[len(b)/2+k] ^= 0xff
				}
				return b
			})
		}, 1},
		"everything gone": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, volume.MetaDir)); err != nil {
				t.Fatal(err)
			}
		}, 0},
		"a file in its place": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, volume.MetaDir)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, volume.MetaDir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, 20)
			c.damage(t, dir)
			began := time.Now()
			s := openTest(t, Options{Path: dir})
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("open took %v", took)
			}
			wantWorking(t, s)
			u := s.Usage()
			if u.IndexRebuilds != c.rebuilds || !u.IndexOpen || (u.IndexError != "") != (c.rebuilds > 0) {
				t.Errorf("usage is %+v, want %d rebuilds", u, c.rebuilds)
			}
			wantAside(t, dir, int(c.rebuilds))
			s = reopen(t, s)
			wantWorking(t, s)
			if u := s.Usage(); u.IndexRebuilds != 0 {
				t.Errorf("usage after reopening is %+v", u)
			}
			if manifests, tags := known(t, s, 20); manifests != 20 || tags != 20 {
				t.Errorf("%d manifests and %d tags of 20 are there again", manifests, tags)
			}
		})
	}
}

func plant(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, volume.MetaDir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func erase(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// Some damage makes Badger panic in goroutines of its own. Two deaths are
// enough: the third start works.
func TestCrashLoopIsBroken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"table cut":             func(b []byte) []byte { return b[:len(b)/2] },
		"end of a table zeroed": func(b []byte) []byte { clear(b[len(b)-64:]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, 100)
			rewrite(t, metaFile(t, dir, "*.sst"), change)
			deaths := 0
			for ; ; deaths++ {
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), childEnv+"="+dir)
				out, err := child.CombinedOutput()
				if err == nil {
					if !strings.Contains(string(out), "rebuilds 1") {
						t.Errorf("the index was not begun anew:\n%s", out)
					}
					break
				}
				if deaths == index.MaxOpenings {
					t.Fatalf("start %d died: %v\n%s", deaths+1, err, out)
				}
			}
			t.Logf("%d starts died", deaths)
			wantAside(t, dir, 1)
			wantWorking(t, openTest(t, Options{Path: dir}))
		})
	}
}

// A count of deaths that came from a crash loop condemns the index once.
func TestCrashLoopIsForgotten(t *testing.T) {
	t.Parallel()
	dir := filled(t, 5)
	root, err := volume.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := openState(root)
	if err == nil {
		err = st.Write(func(st *volume.State) { st.Openings = index.MaxOpenings })
	}
	if err := errors.Join(err, st.Close(), root.Close()); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: dir})
	if u := s.Usage(); u.IndexRebuilds != 1 || !strings.Contains(u.IndexError, index.ErrCrashLoop.Error()) {
		t.Errorf("usage is %+v", u)
	}
	s = reopen(t, s)
	if u := s.Usage(); u.IndexRebuilds != 0 || u.IndexError != "" {
		t.Errorf("usage after reopening is %+v", u)
	}
}
