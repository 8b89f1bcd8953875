package storage

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func selection(t testing.TB, text string) oci.Selection {
	t.Helper()
	sel, err := oci.ParseSelection(text)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func remove(t testing.TB, s *Store, text string) RemoveReport {
	t.Helper()
	r, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// putJSON stores a manifest that names blobs and manifests.
func putJSON(t testing.TB, s *Store, scope oci.Scope, v map[string]any, children ...oci.Descriptor) oci.Descriptor {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	m := oci.Manifest{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: oci.Sum(raw), Bytes: raw}
	if err := s.PutManifest(t.Context(), scope, m, children); err != nil {
		t.Fatal(err)
	}
	return m.Descriptor()
}

// putTagged stores an image of the given blobs, all of which are stored.
func putTagged(t testing.TB, s *Store, scope oci.Scope, tag string, subject *oci.Descriptor, seeds ...uint64) oci.Descriptor {
	t.Helper()
	var layers []oci.Descriptor
	for _, seed := range seeds {
		b, d := content(seed, 1000)
		if _, err := s.StatBlob(t.Context(), d); err != nil {
			putBlobIn(t, s, scope, b)
		}
		layers = append(layers, oci.Descriptor{Digest: d, Size: 1000})
	}
	v := map[string]any{"layers": layers, "annotations": map[string]string{"tag": tag}}
	if subject != nil {
		v["subject"] = subject
	}
	image := putJSON(t, s, scope, v, layers...)
	if tag != "" {
		if err := s.PutTag(t.Context(), scope, tag, Tag{Digest: image.Digest, Checked: s.now()}); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func blobOf(seed uint64) digest.Digest {
	_, d := content(seed, 1000)
	return d
}

func wantSeeds(t testing.TB, s *Store, what string, there bool, seeds ...uint64) {
	t.Helper()
	for _, seed := range seeds {
		wantStored(t, s, what, []digest.Digest{blobOf(seed)}, there)
	}
}

// wantManifest checks whether a scope has a manifest, and the store its bytes.
func wantManifest(t testing.TB, s *Store, scope oci.Scope, d digest.Digest, linked, stored bool) {
	t.Helper()
	if _, err := s.Linked(t.Context(), scope, d); (err == nil) != linked {
		t.Errorf("%s@%s is linked: %v, want %v", scope, d, err, linked)
	}
	if _, err := s.Manifest(t.Context(), d); (err == nil) != stored {
		t.Errorf("%s@%s is stored: %v, want %v", scope, d, err, stored)
	}
}

// With a tag goes what only it needs.
func TestRemoveTag(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	other := oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}
	one := putTagged(t, s, scope, "1", nil, 1, 2, 3)
	signature := putTagged(t, s, scope, "", &one, 9)
	two := putTagged(t, s, scope, "2", nil, 3, 4)
	exact := putTagged(t, s, scope, "", nil, 2, 5)
	copied := putTagged(t, s, other, "x", nil, 1)
	if err := errors.Join(s.PutTag(t.Context(), scope, "1.0", Tag{Digest: one.Digest}), s.PutReferrers(t.Context(), scope, one.Digest, Referrers{Descriptors: []oci.Descriptor{signature}})); err != nil {
		t.Fatal(err)
	}
	// Another tag has all of it.
	if r := remove(t, s, "docker.io/alpine:1.0"); r != (RemoveReport{Tags: 1}) {
		t.Errorf("of a second tag: %+v", r)
	}
	wantSeeds(t, s, "of a second tag", true, 1, 2, 3, 4, 5, 9)
	dry, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io/alpine:1"), DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	r := remove(t, s, "docker.io/alpine:1")
	if want := (RemoveReport{Tags: 1, Manifests: 2, Blobs: 1, Bytes: 1000, Shared: 1}); r != want || dry != want {
		t.Errorf("removed %+v, foretold %+v, want %+v", r, dry, want)
	}
	wantManifest(t, s, scope, one.Digest, false, false)
	wantManifest(t, s, scope, signature.Digest, false, false)
	wantManifest(t, s, scope, two.Digest, true, true)
	wantManifest(t, s, scope, exact.Digest, true, true)
	wantManifest(t, s, other, copied.Digest, true, true)
	wantSeeds(t, s, "only of the tag", false, 9)
	wantSeeds(t, s, "of others", true, 1, 2, 3, 4, 5)
	_, err = s.Linked(t.Context(), scope, blobOf(1))
	wantErr(t, "link to what only another repository has", err, fs.ErrNotExist)
	_, err = s.Referrers(t.Context(), scope, one.Digest)
	wantErr(t, "referrers", err, fs.ErrNotExist)
	_, err = s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io/alpine:1")})
	wantErr(t, "again", err, fs.ErrNotExist)
	_, err = s.Remove(t.Context(), RemoveOptions{})
	if err == nil {
		t.Error("everything was removed")
	}
	if found, err := s.Check(t.Context(), CheckOptions{Verify: true}); err != nil || len(found.Findings) > 0 {
		t.Errorf("check: %+v, %v", found.Findings, err)
	}
}

// A digest goes with its tags, also from an index that needs it; a blob, too.
func TestRemoveDigest(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	image := putTagged(t, s, scope, "1", nil, 1, 2)
	index := putJSON(t, s, scope, map[string]any{"manifests": []oci.Descriptor{image}}, image)
	if err := s.PutTag(t.Context(), scope, "all", Tag{Digest: index.Digest}); err != nil {
		t.Fatal(err)
	}
	r := remove(t, s, "docker.io/library/alpine@"+image.Digest.String())
	if want := (RemoveReport{Tags: 1, Manifests: 1, Blobs: 2, Bytes: 2000}); r != want {
		t.Errorf("removed %+v, want %+v", r, want)
	}
	wantManifest(t, s, scope, image.Digest, false, false)
	wantManifest(t, s, scope, index.Digest, true, true)
	_, tags := catalogOf(t, s, "", "")
	wantList(t, "tags", tags, "docker.io/library/alpine:all")
	putTagged(t, s, scope, "1", nil, 1, 2)
	r = remove(t, s, "docker.io/library/alpine@"+blobOf(2).String())
	if want := (RemoveReport{Blobs: 1, Bytes: 1000}); r != want {
		t.Errorf("removed %+v, want %+v", r, want)
	}
	wantSeeds(t, s, "others", true, 1)
}

// A repository goes whole, also what has no tag, under each identity of its
// upstream; an upstream with what it brought in and nobody has.
func TestRemoveRepositoryAndUpstream(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	secret := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "library/alpine"}
	busybox := oci.Scope{Upstream: "docker.io", Repository: "library/busybox"}
	longer := oci.Scope{Upstream: "docker.iox", Repository: "library/alpine"}
	putTagged(t, s, scope, "1", nil, 1, 2)
	putTagged(t, s, scope, "", nil, 3)
	putTagged(t, s, secret, "1", nil, 4)
	putTagged(t, s, busybox, "1", nil, 2, 5)
	putTagged(t, s, longer, "1", nil, 6)
	b, orphan := content(7, 1000)
	putBlob(t, s, b)
	part := beginPart(t, s, oci.Sum([]byte("unfinished")), 1000)
	if _, err := part.WriteAt([]byte("unfin"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(part.Suspend(extents(0, 5)), part.Close(), s.Link(t.Context(), scope, oci.Descriptor{Digest: oci.Sum([]byte("unfinished")), Size: 1000})); err != nil {
		t.Fatal(err)
	}
	var told []RemoveReport
	r, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io/alpine"), Progress: func(r RemoveReport) { told = append(told, r) }})
	if want := (RemoveReport{Tags: 2, Manifests: 3, Blobs: 3, Bytes: 3000, Shared: 1}); err != nil || r != want {
		t.Errorf("removed %+v, %v, want %+v", r, err, want)
	}
	if len(told) != 2 || told[1].Blobs != 3 {
		t.Errorf("told %+v", told)
	}
	if entries, err := s.home.root.ReadDir(volume.IngestDir); err != nil || len(entries) != 0 {
		t.Errorf("ingest/ has %v, %v", entries, err)
	}
	wantSeeds(t, s, "of others, or of nobody", true, 2, 5, 6, 7)
	scopes, tags := catalogOf(t, s, "", "")
	wantList(t, "scopes", scopes, "docker.io/library/busybox", "docker.iox/library/alpine")
	wantList(t, "tags", tags, "docker.io/library/busybox:1", "docker.iox/library/alpine:1")
	if r := remove(t, s, "docker.io"); r != (RemoveReport{Tags: 1, Manifests: 1, Blobs: 3, Bytes: 3000}) {
		t.Errorf("removed %+v", r)
	}
	wantStored(t, s, "of nobody", []digest.Digest{orphan}, false)
	wantSeeds(t, s, "of another upstream", true, 6)
	scopes, _ = catalogOf(t, s, "", "")
	wantList(t, "scopes", scopes, "docker.iox/library/alpine")
	if u := s.Usage(); u.Blobs != 1 || u.BlobBytes != 1000 || u.EvictedBlobs != 0 {
		t.Errorf("usage is %+v", u)
	}
}

// What is pinned stays, by whichever pin, until it is unpinned; and what pinned
// images of elsewhere need.
func TestRemoveRefusesPinned(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{Limits: Limits{Pins: pins(t, "docker.io/library/alpine:1")}})
	other := oci.Scope{Upstream: "ghcr.io", Repository: "a/b"}
	putTagged(t, s, scope, "1", nil, 1)
	two := putTagged(t, s, scope, "2", nil, 2)
	putTagged(t, s, other, "x", nil, 3)
	refused := func(text, by string, stored bool) {
		t.Helper()
		_, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, text)})
		var pinned *PinnedError
		if !errors.As(err, &pinned) || pinned.Pin != by || pinned.Stored != stored {
			t.Errorf("remove %s: %v", text, err)
		}
	}
	pin := func(text string) {
		t.Helper()
		if added, err := s.Pin(t.Context(), pins(t, text)[0]); !added || err != nil {
			t.Fatal(added, err)
		}
	}
	refused("docker.io/alpine:1", "docker.io/library/alpine:1", false)
	refused("docker.io/alpine", "docker.io/library/alpine:1", false)
	refused("docker.io", "docker.io/library/alpine:1", false)
	refused("docker.io/alpine@"+blobOf(1).String(), "docker.io/library/alpine:1", false)
	pin("ghcr.io/a/**")
	refused("ghcr.io", "ghcr.io/a/**", true)
	pin("docker.io/alpine@" + two.Digest.String())
	refused("docker.io/alpine:2", "docker.io/library/alpine@"+two.Digest.String(), true)
	wantSeeds(t, s, "pinned", true, 1, 2, 3)
	if dropped, err := s.Unpin(t.Context(), pins(t, "ghcr.io/a/**:*")[0]); !dropped || err != nil {
		t.Fatal(dropped, err)
	}
	// A repository that lost its link needs a blob all the same.
	shared := oci.Scope{Upstream: "quay.io", Repository: "c/d"}
	putTagged(t, s, shared, "y", nil, 1, 4)
	i, _ := volume.IDOf(blobOf(1))
	key, _ := index.ScopedKey(index.TableLink, scope, i)
	if err := s.index.Update(0, func(b *index.Batch) error { return b.Delete(key) }); err != nil {
		t.Fatal(err)
	}
	if r := remove(t, s, "quay.io"); r.Blobs != 1 || r.InUse != 1 {
		t.Errorf("removed %+v", r)
	}
	remove(t, s, "ghcr.io")
	wantSeeds(t, s, "not pinned", false, 3, 4)
	wantSeeds(t, s, "pinned", true, 1, 2)
}

// What is open, is being filled or is pulled again stays, and is removed later.
func TestRemoveSparesWhatIsInUse(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	image := putTagged(t, s, scope, "1", nil, 1, 2, 3)
	f, _, err := s.OpenBlob(t.Context(), blobOf(1))
	if err != nil {
		t.Fatal(err)
	}
	running := beginPart(t, s, blobOf(2), 1000)
	r, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io/alpine")})
	if want := (RemoveReport{Tags: 1, Manifests: 1, Blobs: 1, Bytes: 1000, InUse: 2}); err != nil || r != want {
		t.Errorf("removed %+v, %v, want %+v", r, err, want)
	}
	wantSeeds(t, s, "in use", true, 1, 2)
	wantManifest(t, s, scope, image.Digest, false, false)
	if _, err := s.Linked(t.Context(), scope, blobOf(1)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Close(), running.Remove()); err != nil {
		t.Fatal(err)
	}
	if r := remove(t, s, "docker.io/alpine"); r.Blobs != 2 || r.InUse != 0 {
		t.Errorf("removed %+v", r)
	}
	// Somebody pulls it while it goes: after the plan, and before its own step.
	var last []uint64 // in the order of digests
	for seed := uint64(5000); len(last) < 3; seed++ {
		if strings.HasPrefix(blobOf(seed).Encoded(), "ff") {
			last = append(last, seed)
		}
	}
	image = putTagged(t, s, scope, "1", nil, last...)
	var once sync.Once
	many := make([]uint64, 0, eviction.Batch)
	for k := range uint64(eviction.Batch) {
		many = append(many, 1000+k)
	}
	putTagged(t, s, scope, "many", nil, many...)
	_, err = s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io"), Progress: func(RemoveReport) {
		once.Do(func() { putTagged(t, s, scope, "1", nil, last...) })
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Manifest(t.Context(), image.Digest)
	missing := 0
	for _, seed := range last {
		if _, err := s.StatBlob(t.Context(), blobOf(seed)); err != nil {
			missing++
		}
	}
	if err != nil || missing > 0 {
		t.Errorf("pulled again: manifest %v, %d blobs are missing", err, missing)
	}
}

// A store that closes does not wait for a removal, nor for one that waits.
func TestRemoveEndsWithTheStore(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	var seeds []uint64
	for k := range uint64(2*eviction.Batch + 1) {
		seeds = append(seeds, k)
	}
	putTagged(t, s, scope, "1", nil, seeds...)
	closed := make(chan error, 1)
	var once sync.Once
	_, err := s.Remove(t.Context(), RemoveOptions{Selection: selection(t, "docker.io/alpine:1"), Progress: func(RemoveReport) {
		once.Do(func() {
			go func() { closed <- s.Close() }()
			<-s.life.Context().Done()
		})
	}})
	wantErr(t, "remove", err, ErrClosed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	s = openTest(t, Options{Path: s.home.path})
	if r := remove(t, s, "docker.io/alpine:1"); r.Tags != 1 || r.Blobs == 0 {
		t.Errorf("the rest is %+v", r)
	}
	if u := s.Usage(); u.Blobs != 0 {
		t.Errorf("usage is %+v", u)
	}
	if scopes, tags := catalogOf(t, s, "", ""); len(slices.Concat(scopes, tags)) != 0 {
		t.Errorf("%v and %v are left", scopes, tags)
	}
}
