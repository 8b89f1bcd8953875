package storage

import (
	"io/fs"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// imageOf returns the one manifest below an index of storeImage.
func imageOf(t testing.TB, s *Store, index digest.Digest) digest.Digest {
	t.Helper()
	m, err := s.Manifest(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := oci.ParseManifest(m.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return contents.Manifests[0].Digest
}

// To get an image's manifest is a use of its blobs, to get an index is not.
func TestManifestUseIsOneOfItsBlobs(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	index, blobs := storeImage(t, s, scope, "1", 1, false)
	c.move(5 * time.Hour)
	other, unused := storeImage(t, s, scope, "2", 2, false)
	c.move(5 * time.Hour)
	b, d := content(99, 1000)
	putBlob(t, s, b)
	c.move(2 * time.Hour)
	s.UseManifest(imageOf(t, s, index))
	s.UseManifest(other)
	s.limits.Store(&Limits{MaxSize: 4200})
	s.keeper.eviction.Pass(t.Context())
	wantStored(t, s, "used", blobs, true)
	wantStored(t, s, "only its index was used", unused, false)
	wantStored(t, s, "newer", []digest.Digest{d}, true)
}

// What nobody uses is forgotten, a quarter of the manifests at a time; what is
// used, pinned or stored stays.
func TestForget(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	other := oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}
	old, oldBlobs := storeImage(t, s, other, "old", 1, true)
	kept, _ := storeImage(t, s, scope, "3", 2, false)
	used, _ := storeImage(t, s, other, "used", 3, false)
	absent := oci.Sum([]byte("another platform of old"))
	if err := s.PutReferrers(t.Context(), other, old, Referrers{Checked: c.now()}); err != nil {
		t.Fatal(err)
	}
	oldImage := imageOf(t, s, old)
	s.limits.Store(&Limits{MaxUnused: 90 * day, Pins: pins(t, "docker.io/library/alpine:3")})
	forget := func() {
		t.Helper()
		for range 8 {
			s.keeper.eviction.Uses.Write()
			if err := s.keeper.forgetting.forget(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(what string, err error, there bool) {
		t.Helper()
		if there && err != nil {
			t.Errorf("%s is gone: %v", what, err)
		} else if !there {
			wantErr(t, what, err, fs.ErrNotExist)
		}
	}
	check := func(there bool) {
		t.Helper()
		for what, d := range map[string]digest.Digest{"index": old, "image": oldImage} {
			_, err := s.Manifest(t.Context(), d)
			want(what, err, there)
		}
		_, err := s.Tag(t.Context(), other, "old")
		want("tag", err, there)
		_, err = s.Referrers(t.Context(), other, old)
		want("referrers", err, there)
		_, err = s.Linked(t.Context(), other, absent)
		want("link to what never came", err, there)
		for what, d := range map[string]digest.Digest{"pinned": kept, "used": used} {
			_, err := s.Manifest(t.Context(), d)
			want(what, err, true)
		}
		_, err = s.Tag(t.Context(), scope, "3")
		want("pinned tag", err, true)
		_, err = s.Tag(t.Context(), other, "used")
		want("tag of what is used", err, true)
		_, err = s.Linked(t.Context(), other, oldBlobs[0])
		want("link to a blob that is stored", err, true)
	}
	c.move(80 * day)
	s.UseManifest(used)
	s.UseManifest(imageOf(t, s, used))
	forget()
	check(true)
	c.move(11 * day)
	forget()
	check(false)
	if _, err := s.Linked(t.Context(), other, old); err == nil {
		// The manifest was there when the links were looked at last.
		forget()
		_, err = s.Linked(t.Context(), other, old)
		want("link of a manifest", err, false)
	}
}

// A manifest that no scope has is of no use; one that had no use recorded gets one.
func TestForgetManifestWithoutLink(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	top, _ := storeImage(t, s, scope, "3", 1, false)
	i, err := volume.IDOf(top)
	if err != nil {
		t.Fatal(err)
	}
	key, err := index.ScopedKey(index.TableLink, scope, i)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.index.Update(0, func(b *index.Batch) error { return b.Drop(index.TableKey(index.TableManifestUse, i)) }); err != nil {
		t.Fatal(err)
	}
	for _, there := range []bool{true, false} {
		if err := s.keeper.forgetting.forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Manifest(t.Context(), top); (err == nil) != there {
			t.Errorf("manifest is there: %v", err)
		}
		if _, err := s.index.Get(index.TableKey(index.TableManifestUse, i)); (err == nil) != there {
			t.Errorf("its use is there: %v", err)
		}
		if err := s.index.Update(0, func(b *index.Batch) error { return b.Drop(key) }); err != nil {
			t.Fatal(err)
		}
	}
}

// By default what led to blobs that are gone is forgotten after half a year, except
// upstreams that are offline; what leads to blobs that are here stays.
func TestForgetByDefault(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	other, away := oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}, oci.Scope{Upstream: "quay.io#01", Repository: "c"}
	s.limits.Store(&Limits{Pins: pins(t, "docker.io/library/alpine:pinned"), Offline: []string{"quay.io"}})
	type image struct {
		scope        oci.Scope
		tag          string
		gone, stays  bool
		index, image digest.Digest
		blobs        []digest.Digest
	}
	images := []*image{
		{scope: scope, tag: "whole", stays: true},
		{scope: scope, tag: "evicted", gone: true},
		{scope: scope, tag: "pinned", gone: true, stays: true},
		{scope: other, tag: "used", gone: true, stays: true},
		{scope: other, tag: "evicted", gone: true},
		{scope: away, tag: "offline", gone: true, stays: true},
	}
	for k, m := range images {
		m.index, m.blobs = storeImage(t, s, m.scope, m.tag, uint64(k), false)
		m.image = imageOf(t, s, m.index)
		if err := s.PutReferrers(t.Context(), m.scope, m.image, Referrers{Checked: c.now()}); err != nil {
			t.Fatal(err)
		}
		if i, _ := volume.IDOf(m.blobs[1]); m.gone {
			if _, err := s.keeper.eviction.Remover.Remove([]volume.ID{i}, func(volume.ID) bool { return false }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, age := range []time.Duration{170 * day, 11 * day} {
		c.move(age)
		if age > 100*day {
			s.UseManifest(images[3].index)
			s.UseManifest(images[3].image)
		}
		for range 12 { // a quarter each
			s.keeper.eviction.Uses.Write()
			if err := s.keeper.forgetting.forget(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range images {
			want := m.stays || age > 100*day
			_, tag := s.Tag(t.Context(), m.scope, m.tag)
			_, index := s.Manifest(t.Context(), m.index)
			_, child := s.Manifest(t.Context(), m.image)
			_, link := s.Linked(t.Context(), m.scope, m.image)
			_, blob := s.Linked(t.Context(), m.scope, m.blobs[1])
			_, referrers := s.Referrers(t.Context(), m.scope, m.image)
			for what, err := range map[string]error{
				"tag": tag, "index": index, "image": child, "link": link, "link to the blob": blob, "referrers": referrers,
			} {
				if what == "link to the blob" && m.tag == "used" && age < 100*day {
					continue // it is learned again with the blob
				}
				if (err == nil) != want {
					t.Errorf("%s of %s:%s after %v: %v", what, m.scope, m.tag, age, err)
				}
			}
		}
	}
}
