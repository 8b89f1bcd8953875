package storage

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/images"
)

// indexSize returns how many bytes the records have that count against the limit.
func indexSize(t testing.TB, s *Store) int64 {
	t.Helper()
	txn, err := s.index.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	size, err := images.SizeOf(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// putClutter stores a manifest that names blobs which nobody pulls.
func putClutter(t testing.TB, s *Store, scope oci.Scope, n int) digest.Digest {
	t.Helper()
	raw := fmt.Appendf(nil, `{"n":%d}`, n)
	var children []oci.Descriptor
	for i := range 100 {
		children = append(children, oci.Descriptor{Digest: oci.Sum(fmt.Append(nil, n, i)), Size: 1})
	}
	m := oci.Manifest{MediaType: "a/b", Digest: oci.Sum(raw), Bytes: raw}
	if err := s.PutManifest(t.Context(), scope, m, children); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTag(t.Context(), scope, fmt.Sprint("t", n), Tag{Digest: m.Digest, Checked: s.now()}); err != nil {
		t.Fatal(err)
	}
	return m.Digest
}

// An index that exceeds its limit forgets what was used the longest ago, until it does
// not any more; what is pinned, offline or used stays. One below its limit forgets
// nothing.
func TestIndexKeepsToItsLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	away := oci.Scope{Upstream: "quay.io", Repository: "c"}
	limits := Limits{Pins: pins(t, "docker.io/library/alpine:t0"), Offline: []string{"quay.io"}}
	pinned, offline, used := putClutter(t, s, scope, 0), putClutter(t, s, away, 1), putClutter(t, s, scope, 2)
	var all []digest.Digest
	for n := range 20 {
		c.move(3 * time.Hour)
		all = append(all, putClutter(t, s, scope, 3+n))
	}
	forget := func(most int64) {
		t.Helper()
		limits.MaxIndex = most
		s.limits.Store(&limits)
		for range 8 {
			s.UseManifest(used)
			s.keeper.eviction.Uses.Write()
			if err := s.keeper.forgetting.forget(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func() (n int) {
		for _, d := range all {
			if _, err := s.Manifest(t.Context(), d); err == nil {
				n++
			}
		}
		return n
	}
	before := indexSize(t, s)
	forget(before)
	if n, size := left(), indexSize(t, s); n != len(all) || size < before {
		t.Errorf("below the limit, %d manifests and %d of %d bytes are left", n, size, before)
	}
	forget(before / 2)
	if size, n := indexSize(t, s), left(); size > before/2 || size < before/4 || n == 0 {
		t.Errorf("%d of %d bytes are left, and %d manifests", size, before, n)
	}
	for what, d := range map[string]digest.Digest{"pinned": pinned, "offline": offline, "used": used, "the newest": all[19]} {
		if _, err := s.Manifest(t.Context(), d); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, tag := range map[string]string{"pinned": "t0", "used": "t2", "the newest": "t22"} {
		if _, err := s.Tag(t.Context(), scope, tag); err != nil {
			t.Errorf("tag of what is %s: %v", what, err)
		}
	}
	if _, err := s.Manifest(t.Context(), all[0]); err == nil {
		t.Error("the oldest is left")
	}
}

// What says who has shown to have something that is gone counts, and goes, too.
func TestIndexForgetsOrigins(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	for n := range 20 {
		for _, upstream := range []string{"docker.io", "ghcr.io"} {
			var ds []oci.Descriptor
			for i := range 50 {
				ds = append(ds, oci.Descriptor{Digest: oci.Sum(fmt.Append(nil, n, i)), Size: 1})
			}
			if err := s.LinkOpen(t.Context(), oci.Scope{Upstream: upstream, Repository: "a"}, ds...); err != nil {
				t.Fatal(err)
			}
		}
		c.move(3 * time.Hour)
	}
	before := indexSize(t, s)
	s.limits.Store(&Limits{MaxIndex: before / 2})
	if err := s.keeper.forgetting.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size := indexSize(t, s); size > before/2 || size < before/4 {
		t.Errorf("%d of %d bytes are left", size, before)
	}
	for n, want := range map[int]Origins{0: {}, 19: {Own: true, Open: true}} {
		if o, err := s.Origins(t.Context(), scope, oci.Sum(fmt.Append(nil, n, 0))); err != nil || o != want {
			t.Errorf("of %d: %+v, want %+v, %v", n, o, want, err)
		}
	}
}
