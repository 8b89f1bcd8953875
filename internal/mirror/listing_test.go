package mirror_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

func TestReferrers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	signature := f.upstream.PutManifest(repository, "", "application/vnd.oci.image.manifest.v1+json",
		[]byte(`{"schemaVersion":2,"artifactType":"application/x","subject":{"digest":"`+image.Index.Digest.String()+`","size":1}}`))
	r := manifestRequest(image.Index.Digest.String())
	get := func(result oci.Result, want ...digest.Digest) {
		t.Helper()
		ds, status, err := f.mirror.Referrers(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var got []digest.Digest
		for _, d := range ds {
			got = append(got, d.Digest)
		}
		if !slices.Equal(got, want) || status.Result != result {
			t.Errorf("got %v, %v; want %v, %v", got, status, want, result)
		}
	}
	get(oci.ResultMiss, signature)
	get(oci.ResultHit, signature)
	f.saw(0, 1)
	f.clock.advance(ttl)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	get(oci.ResultStale, signature)
	get(oci.ResultStale, signature)
	f.saw(0, 1)
	unknown := r
	r = manifestRequest(digest.FromString("other").String())
	for range 3 {
		_, _, err := f.mirror.Referrers(t.Context(), r)
		wantStatus(t, err, http.StatusBadGateway)
	}
	f.saw(0, 1)
	f.policy.Offline = true
	f.configure()
	get(oci.ResultHit)
	r = unknown
	get(oci.ResultHit, signature)
	f.policy.Offline = false
	f.configure()
	f.upstream.Hook(answer(http.StatusNotFound))
	f.clock.advance(ttl)
	f.saw(0, 0)
	get(oci.ResultMiss) // the upstream knows none any more, which is no error
	f.saw(0, 1)
}

func TestTags(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := manifestRequest("x")
	for _, tag := range []string{"a", "b", "c"} {
		f.upstream.PutImage(repository, tag, 1, 10)
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(tag)); err != nil {
			t.Fatal(err)
		}
	}
	f.upstream.PutImage(repository, "unpulled", 1, 10)
	get := func(page oci.TagsPage, result oci.Result, want ...string) oci.TagList {
		t.Helper()
		list, status, err := f.mirror.Tags(t.Context(), r, page)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(list.Tags, want) || status.Result != result {
			t.Errorf("got %v, %v; want %v, %v", list.Tags, status, want, result)
		}
		return list
	}
	all := oci.TagsPage{N: -1}
	get(all, oci.ResultMiss, "a", "b", "c", "unpulled")
	get(oci.TagsPage{N: 1, Last: "a"}, oci.ResultHit, "b")
	f.saw(3, 2) // three pulls of two manifests, and one list
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	for range 3 {
		get(all, oci.ResultStale, "a", "b", "c", "unpulled")
		get(oci.TagsPage{N: 2}, oci.ResultStale, "a", "b")
		get(oci.TagsPage{N: 2, Last: "b"}, oci.ResultStale, "c", "unpulled")
	}
	f.saw(0, 1)
	other := manifestRequest("x")
	other.Upstream = "ghcr.io" // of which no list is known, and no tag
	_, _, err := f.mirror.Tags(t.Context(), other, all)
	wantStatus(t, err, http.StatusBadGateway)
	f.saw(0, 1)
	f.policy.Offline = true
	f.configure()
	if list := get(oci.TagsPage{N: 2}, oci.ResultHit, "a", "b"); !list.More {
		t.Error("no more")
	}
	if list := get(oci.TagsPage{N: 2, Last: "b"}, oci.ResultHit, "c"); list.More {
		t.Error("more")
	}
	get(oci.TagsPage{N: 2, Last: "c"}, oci.ResultHit)
	get(oci.TagsPage{N: 0}, oci.ResultHit)
	r.Repository = "library/other"
	_, _, err = f.mirror.Tags(t.Context(), r, all)
	wantStatus(t, err, http.StatusNotFound)
	r.Upstream = "unknown"
	_, status, err := f.mirror.Tags(t.Context(), r, all)
	wantStatus(t, err, http.StatusNotFound)
	if status != (oci.CacheStatus{}) {
		t.Errorf("status %v", status)
	}
	f.saw(0, 0)
}
