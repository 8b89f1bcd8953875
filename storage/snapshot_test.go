package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// breakIndex makes the index of a closed store unreadable.
func breakIndex(t *testing.T, dir string) {
	t.Helper()
	rewrite(t, metaFile(t, dir, "MANIFEST"), func([]byte) []byte { return nil })
}

// After the index is lost, what cannot be found out from the blobs is there
// again: tags, manifests, links and referrers.
func TestSnapshotIsRestored(t *testing.T) {
	t.Parallel()
	const n = 500
	s := openTest(t, Options{})
	fill(t, s, n)
	_, subject := content(1, 2000)
	if err := s.PutReferrers(t.Context(), scope, subject, Referrers{Checked: time.Unix(7, 0)}); err != nil {
		t.Fatal(err)
	}
	large, d := content(n+1, index.MaxValue+1)
	if err := s.PutManifest(t.Context(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: large}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		breakIndex(t, s.home.path)
		s = openTest(t, Options{Path: s.home.path})
		if manifests, tags := known(t, s, n); manifests != n || tags != n {
			t.Errorf("%d manifests and %d tags of %d are there again", manifests, tags, n)
		}
		if l, err := s.Linked(t.Context(), scope, subject); err != nil || l.Size != 2000 {
			t.Errorf("link is %+v, %v", l, err)
		}
		if r, err := s.Referrers(t.Context(), scope, subject); err != nil || r.Checked.Unix() != 7 {
			t.Errorf("referrers are %+v, %v", r, err)
		}
		if m, err := s.Manifest(t.Context(), d); err != nil || !bytes.Equal(m.Bytes, large) {
			t.Errorf("large manifest: %v", err)
		}
		wantWorking(t, s)
	}
	if names := mustSnapshots(t, s); len(names) > index.SnapshotsKept {
		t.Errorf("snapshots are %v", names)
	}
}

// Damage that Badger passes over without a word is noticed, and made good.
func TestSilentLossIsRestored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
	}{
		"manifest cut": {func(t *testing.T, dir string) {
			rewrite(t, metaFile(t, dir, "MANIFEST"), func(b []byte) []byte { return b[:len(b)-7] })
		}},
		"everything gone": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, volume.MetaDir)); err != nil {
				t.Fatal(err)
			}
		}},
		"bytes flipped": {func(t *testing.T, dir string) {
			rewrite(t, metaFile(t, dir, "*.sst"), func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 200
			dir := filled(t, n)
			c.damage(t, dir)
			s := openTest(t, Options{Path: dir})
			if manifests, tags := known(t, s, n); manifests != n || tags != n {
				t.Errorf("%d manifests and %d tags of %d are there again", manifests, tags, n)
			}
			wantWorking(t, s)
		})
	}
}

// What came after the snapshot is newer than what it holds.
func TestRestoreKeepsWhatIsNewer(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, older := content(1, 1)
	_, newer := content(2, 1)
	for _, tag := range []string{"a", "b"} {
		if err := s.PutTag(t.Context(), scope, tag, Tag{Digest: older}); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s)
	if err := s.PutTag(t.Context(), scope, "a", Tag{Digest: newer}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTag(t.Context(), scope, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.keeper.snapshots.RestoreFrom(t.Context(), mustSnapshots(t, s)[0]); err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]any{"a": newer, "b": older} {
		if got, err := s.Tag(t.Context(), scope, tag); err != nil || got.Digest != want {
			t.Errorf("tag %s is %+v, %v, want %v", tag, got, err, want)
		}
	}
}

func mustSnapshots(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := s.keeper.snapshots.List()
	if err != nil || len(names) == 0 {
		t.Fatalf("snapshots are %v, %v", names, err)
	}
	return names
}

// A snapshot that is not whole gives way to the one before, and that to none.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)-5] }
	none := func([]byte) []byte { return nil }
	for name, c := range map[string]struct {
		newest, oldest func([]byte) []byte
		want           int // tags, of 2 times 10
	}{
		"whole":           {nil, nil, 20},
		"newest flipped":  {flip, nil, 10},
		"newest cut":      {cut, nil, 10},
		"newest empty":    {none, nil, 10},
		"both are broken": {flip, cut, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			_, d := content(1, 1)
			for k := range 20 {
				if k == 10 {
					s = reopen(t, s)
				}
				if err := s.PutTag(t.Context(), scope, strconv.Itoa(k), Tag{Digest: d}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			names, err := filepath.Glob(filepath.Join(s.home.path, index.SnapshotDir, "*"))
			if err != nil || len(names) != 2 {
				t.Fatalf("snapshots are %v, %v", names, err)
			}
			for k, change := range []func([]byte) []byte{c.oldest, c.newest} {
				if change != nil {
					rewrite(t, names[k], change)
				}
			}
			breakIndex(t, s.home.path)
			s = openTest(t, Options{Path: s.home.path})
			if tags, err := s.Tags(t.Context(), scope, "", -1); err != nil || len(tags) != c.want {
				t.Errorf("tags are %v, %v, want %d", tags, err, c.want)
			}
			if s.home.state.Restore {
				t.Error("the index is still to be restored")
			}
		})
	}
}

// A store in which nothing changed writes no snapshot, and never more than are
// kept, whatever the clock does.
func TestSnapshotsAreBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	var last []string
	for k := range 6 {
		_, d := content(1, 1)
		if err := s.PutTag(t.Context(), scope, strconv.Itoa(k), Tag{Digest: d}); err != nil {
			t.Fatal(err)
		}
		c.move(-time.Hour)
		s = reopen(t, s)
		s = reopen(t, s)
		names := mustSnapshots(t, s)
		if len(names) != min(k+1, index.SnapshotsKept) || k > 0 && names[1] != last[0] {
			t.Errorf("snapshots are %v after %v", names, last)
		}
		last = names
	}
}

// An index that lost most of what it held must not replace what is left of it.
func TestSnapshotOfDamagedIndexIsRefused(t *testing.T) {
	t.Parallel()
	dir := filled(t, 300)
	s := openTest(t, Options{Path: dir})
	// In place: the file is mapped.
	f, err := os.OpenFile(metaFile(t, dir, "*.sst"), os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("damage"), 200_000)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	before := mustSnapshots(t, s)
	_, d := content(1, 1)
	if err := s.PutTag(t.Context(), scope, "one-more", Tag{Digest: d}); err != nil {
		t.Fatal(err)
	}
	s.home.state.Note(func(st *volume.State) { st.Records *= 100 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: dir})
	if after := mustSnapshots(t, s); after[0] != before[0] {
		t.Errorf("snapshots are %v, were %v", after, before)
	}
	if u := s.Usage(); u.IndexRebuilds != 1 {
		t.Errorf("usage is %+v", u)
	}
}
