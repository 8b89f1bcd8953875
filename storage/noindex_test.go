package storage

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// A disk too full for the index does not keep the store from opening: it serves what it
// holds, records nothing, and recovers by itself.
func TestFullDiskAtOpen(t *testing.T) {
	t.Parallel()
	dir := filled(t, 5)
	log := newMessages()
	s := openTest(t, Options{
		Path: dir, Logger: slog.New(log), seams: seams{retry: 10 * time.Millisecond, volume: func() (int64, int64, error) { return 1000, 100 << 30, nil }},
	})
	wantReadable(t, s, 5)
	_, d := content(1, 2000)
	_, err := s.Part(t.Context(), scope, d, 1)
	wantErr(t, "part", err, ErrNoSpace)
	if u := s.Usage(); u.IndexOpen || u.IndexError == "" || u.IndexRebuilds != 0 || u.FreeBytes != 1000 {
		t.Errorf("usage is %+v", u)
	}
	setVolume(s, 50<<30, 100<<30)
	log.wait(t, "index is open")
	wantWorking(t, s)
	if manifests, tags := known(t, s, 5); manifests != 5 || tags != 5 {
		t.Errorf("%d manifests and %d tags are known", manifests, tags)
	}
	wantAside(t, dir, 0)
}

// wantReadable wants that what fill has put is known, and that nothing is recorded.
func wantReadable(t *testing.T, s *Store, n int) {
	t.Helper()
	if got := readBlob(t, s, oci.Sum([]byte("blob"))); string(got) != "blob" {
		t.Errorf("blob reads %q", got)
	}
	if manifests, tags := known(t, s, n); manifests != n || tags != n {
		t.Errorf("%d manifests and %d tags are known", manifests, tags)
	}
	_, d := content(1, 2000)
	if link, err := s.Linked(t.Context(), scope, d); err != nil || !link.Proven {
		t.Errorf("link is %+v, %v", link, err)
	}
	for name, call := range noIndexWrites(t.Context(), s, d) {
		wantErr(t, name, call(), ErrNoIndex)
	}
}

// An index that a crash left cannot be read without being written: the store serves
// blobs, knows no links, and recovers by itself.
func TestFullDiskAfterCrash(t *testing.T) {
	t.Parallel()
	crashed := openTest(t, Options{})
	fill(t, crashed, 5)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(crashed.home.path)); err != nil {
		t.Fatal(err)
	}
	log := newMessages()
	s := openTest(t, Options{
		Path: dir, Logger: slog.New(log), seams: seams{retry: 10 * time.Millisecond, volume: func() (int64, int64, error) { return 1000, 100 << 30, nil }},
	})
	_, d := content(1, 2000)
	if got := readBlob(t, s, oci.Sum([]byte("blob"))); string(got) != "blob" {
		t.Errorf("blob reads %q", got)
	}
	for name, call := range noIndexCalls(t.Context(), s, d) {
		wantErr(t, name, call(), ErrNoIndex)
	}
	setVolume(s, 50<<30, 100<<30)
	log.wait(t, "index is open")
	wantWorking(t, s)
	if manifests, tags := known(t, s, 5); manifests != 5 || tags != 5 {
		t.Errorf("%d manifests and %d tags are known", manifests, tags)
	}
	wantAside(t, dir, 0)
}

func noIndexCalls(ctx context.Context, s *Store, d digest.Digest) map[string]func() error {
	calls := noIndexWrites(ctx, s, d)
	calls["Linked"] = func() error { _, err := s.Linked(ctx, scope, d); return err }
	calls["Tag"] = func() error { _, err := s.Tag(ctx, scope, "t1"); return err }
	calls["Tags"] = func() error { _, err := s.Tags(ctx, scope, "", -1); return err }
	calls["Manifest"] = func() error { _, err := s.Manifest(ctx, d); return err }
	calls["Referrers"] = func() error { _, err := s.Referrers(ctx, scope, d); return err }
	return calls
}

func noIndexWrites(ctx context.Context, s *Store, d digest.Digest) map[string]func() error {
	return map[string]func() error{
		"Link":         func() error { return s.Link(ctx, scope, oci.Descriptor{Digest: d}) },
		"PutTag":       func() error { return s.PutTag(ctx, scope, "t1", Tag{Digest: d}) },
		"DeleteTag":    func() error { return s.DeleteTag(ctx, scope, "t1") },
		"PutReferrers": func() error { return s.PutReferrers(ctx, scope, d, Referrers{}) },
	}
}

// Without index, blobs can be stored too. They are adopted later.
func TestFillWithoutIndex(t *testing.T) {
	t.Parallel()
	dir := filled(t, 1)
	s := openTest(t, Options{
		Path: dir, seams: seams{retry: time.Hour, volume: func() (int64, int64, error) { return 1000, 100 << 30, nil }},
	})
	setVolume(s, 50<<30, 100<<30)
	b, _ := content(9, 1000)
	d := putBlob(t, s, b)
	if got := readBlob(t, s, d); string(got) != string(b) {
		t.Error("other bytes")
	}
	if u := s.Usage(); u.IndexOpen {
		t.Errorf("usage is %+v", u)
	}
	s = reopen(t, s)
	readBlob(t, s, d)
	settle(t, s)
	i, _ := volume.IDOf(d)
	if r, known := s.index.Blob(i); !known || r.Size != 1000 {
		t.Errorf("record is %+v, %v", r, known)
	}
}

// Where the store itself fills the disk, it makes room, oldest blobs first, but
// no more than is needed.
func TestOpenMakesRoomWithoutIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	now := time.Now()
	var ds []digest.Digest
	for k := range 40 {
		b, d := content(uint64(k), 1<<20)
		putBlob(t, s, b)
		when := now.Add(time.Duration(k-100) * time.Hour)
		if err := os.Chtimes(blobFile(t, s, d), when, when); err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	young := putBlob(t, s, []byte("young"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Of 100 MiB, 20 are free, and each blob that goes adds one.
	dir := s.home.path
	free := func() (int64, int64, error) {
		var used int64
		err := fs.WalkDir(os.DirFS(dir), volume.BlobsDir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			used += info.Size()
			return err
		})
		return 60<<20 - used, 100 << 20, err
	}
	s = openTest(t, Options{Path: dir, seams: seams{volume: free}})
	u := s.Usage()
	if !u.IndexOpen || u.EvictedBlobs != 38 {
		t.Errorf("usage is %+v", u)
	}
	if _, err := s.StatBlob(t.Context(), young); err != nil {
		t.Errorf("young blob: %v", err)
	}
	var kept int
	for _, d := range ds {
		if _, err := s.StatBlob(t.Context(), d); err == nil {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d blobs were kept", kept)
	}
}

// To close the index takes room, too. Where there is none, that waits, and
// nothing is lost.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	fill(t, s, 5)
	setVolume(s, 1000, 100<<30)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := newMessages()
	next := openTest(t, Options{Path: s.home.path, Logger: slog.New(log), seams: seams{retry: 10 * time.Millisecond}})
	if u := next.Usage(); u.IndexOpen || u.IndexRebuilds != 0 {
		t.Errorf("usage is %+v", u)
	}
	setVolume(s, 50<<30, 100<<30)
	log.wait(t, "index is open")
	if manifests, tags := known(t, next, 5); manifests != 5 || tags != 5 {
		t.Errorf("%d manifests and %d tags are known", manifests, tags)
	}
	wantAside(t, s.home.path, 0)
}
