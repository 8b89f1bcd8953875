package mirror_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// missing makes the upstream answer 404 for a manifest by its digest.
func (f *fixture) missing(image registrytest.Image) {
	f.upstream.On(registrytest.Rule{
		Kind: "manifests", Reference: image.Index.Digest.String(), Hook: registrytest.Answer(http.StatusNotFound, nil, ""),
	})
}

func (f *fixture) wantManifest(ref string, want []byte) {
	f.t.Helper()
	m, status, err := f.mirror.Manifest(f.t.Context(), manifestRequest(ref))
	if err != nil || !bytes.Equal(m.Bytes, want) || status.Result == oci.ResultStale {
		f.t.Fatalf("manifest %s: %v, %v, %.80s", ref, err, status, m.Bytes)
	}
}

// A client has asked with HEAD what a tag means, and was told what no bytes confirm. Then it moves, and what it meant is
// deleted: one GET by tag decides, also where the tag is said never to move.
func TestTagThatMovesAfterItsHead(t *testing.T) { bubble(testTagThatMovesAfterItsHead)(t) }

func testTagThatMovesAfterItsHead(t *testing.T) {
	for _, name := range []string{"3", "v1.2.3"} {
		f := newFixture(t)
		f.connect(upstream.Options{})
		f.counting()
		old := f.upstream.PutImage(repository, name, 1, 10)
		if d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest(name)); err != nil || d.Digest != old.Index.Digest {
			t.Fatal(err)
		}
		moved := f.upstream.PutImage(repository, name, 2, 10)
		f.missing(old)
		f.upstream.Reset()
		f.wantManifest(name, moved.IndexBytes)
		f.saw(0, 2)
		f.wantManifest(name, moved.IndexBytes)
		f.saw(0, 0)
	}
}

// The same, but it is the digest that the client goes on with: that is gone, and the
// next HEAD tells the new one.
func TestDigestThatIsGoneAfterItsHead(t *testing.T) { bubble(testDigestThatIsGoneAfterItsHead)(t) }

func testDigestThatIsGoneAfterItsHead(t *testing.T) {
	for _, name := range []string{"3", "v1.2.3"} {
		f := newFixture(t)
		f.connect(upstream.Options{})
		f.counting()
		old := f.upstream.PutImage(repository, name, 1, 10)
		if _, _, err := f.mirror.StatManifest(t.Context(), manifestRequest(name)); err != nil {
			t.Fatal(err)
		}
		moved := f.upstream.PutImage(repository, name, 2, 10)
		f.missing(old)
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest(old.Index.Digest.String()))
		wantStatus(t, err, http.StatusNotFound)
		if d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest(name)); err != nil || d.Digest != moved.Index.Digest {
			t.Errorf("%v, %v", d, err)
		}
	}
}

// A tag that never moves is asked for again as long as nobody has its manifest.
func TestImmutableTagWithoutItsManifest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.connect(upstream.Options{})
	f.counting()
	old := f.upstream.PutImage(repository, "v1.2.3", 1, 10)
	if _, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("v1.2.3")); err != nil {
		t.Fatal(err)
	}
	moved := f.upstream.PutImage(repository, "v1.2.3", 2, 10)
	f.missing(old)
	f.reopen() // nobody remembers the HEAD any more
	f.clock.advance(ttl)
	if d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("v1.2.3")); err != nil || d.Digest != moved.Index.Digest {
		t.Errorf("%v, %v", d, err)
	}
	f.wantManifest(moved.Index.Digest.String(), moved.IndexBytes)
}

// A registry that gives manifests by tag only, whatever it says of digests: 404, 403, 5xx,
// or other bytes.
func TestManifestsByTagOnly(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]registrytest.Hook{
		"404": registrytest.Answer(http.StatusNotFound, nil, ""),
		"400": registrytest.Answer(http.StatusBadRequest, nil, ""),
		"401": registrytest.Answer(http.StatusUnauthorized, nil, ""),
		"403": registrytest.Answer(http.StatusForbidden, nil, ""),
		"500": registrytest.Answer(http.StatusInternalServerError, nil, ""),
		"502": registrytest.Answer(http.StatusBadGateway, nil, ""),
		"503": registrytest.Answer(http.StatusServiceUnavailable, nil, ""),
		"other bytes": registrytest.Answer(http.StatusOK, http.Header{"Content-Type": {"application/vnd.oci.image.index.v1+json"}},
			`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`),
	} {
		t.Run(name, bubble(func(t *testing.T) {
			f := newFixture(t)
			f.connect(upstream.Options{})
			image := f.upstream.PutImage(repository, "3", 1, 10)
			f.upstream.On(registrytest.Rule{Kind: "manifests", Method: http.MethodGet, Reference: image.Index.Digest.String(), Hook: hook})
			f.wantManifest("3", image.IndexBytes)

			// As containerd pulls: HEAD by tag, GET by digest.
			f.counting()
			f.upstream.PutImage("library/other", "3", 1, 10)
			r := manifestRequest("3")
			r.Repository = "library/other"
			if _, _, err := f.mirror.StatManifest(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			r = manifestRequest(image.Index.Digest.String())
			r.Repository = "library/other"
			if m, _, err := f.mirror.Manifest(t.Context(), r); err != nil || m.Digest != image.Index.Digest {
				t.Errorf("by digest: %v", err)
			}
		}))
	}
}

// A tag moves where the registry gives manifests by tag only: the new one is what
// comes, not the old one as a stale answer. Where it gives none at all, the old one does.
func TestTagMovesByTagOnly(t *testing.T) { bubble(testTagMovesByTagOnly)(t) }

func testTagMovesByTagOnly(t *testing.T) {
	for _, status := range []int{403, 404, 500, 502, 503} {
		f := newFixture(t)
		f.connect(upstream.Options{})
		old := f.upstream.PutImage(repository, "3", 1, 10)
		f.wantManifest("3", old.IndexBytes)
		moved := f.upstream.PutImage(repository, "3", 2, 10)
		f.upstream.On(registrytest.Rule{
			Kind: "manifests", Method: http.MethodGet, Reference: moved.Index.Digest.String(), Hook: registrytest.Answer(status, nil, ""),
		})
		f.clock.advance(ttl)
		f.wantManifest("3", moved.IndexBytes)

		last := f.upstream.PutImage(repository, "3", 3, 10)
		for _, ref := range []string{"3", last.Index.Digest.String()} {
			f.upstream.On(registrytest.Rule{
				Kind: "manifests", Method: http.MethodGet, Reference: ref, Hook: registrytest.Answer(http.StatusInternalServerError, nil, ""),
			})
		}
		f.clock.advance(ttl)
		m, cache, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err != nil || !bytes.Equal(m.Bytes, moved.IndexBytes) || cache.Result != oci.ResultStale {
			t.Errorf("%d: neither by digest nor by tag: %v, %v", status, err, cache)
		}
	}
}

// A header that names another digest refuses nothing: the bytes decide.
func TestWrongDigestInTheHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 10)
	f.upstream.On(registrytest.Rule{Kind: "manifests", Hook: registrytest.Spoil{
		Header: func(h http.Header) { h.Set("Docker-Content-Digest", oci.Sum([]byte("x")).String()) },
	}.Hook()})
	f.wantManifest("3", image.IndexBytes)
	f.wantManifest(image.Index.Digest.String(), image.IndexBytes)
	f.wantManifest("3", image.IndexBytes)
}

// counting has the upstream say that it counts GETs of manifests, as Docker Hub does:
// then what a HEAD tells is believed.
func (f *fixture) counting() {
	f.upstream.On(registrytest.Rule{Kind: "manifests", Method: http.MethodHead, Hook: registrytest.Spoil{
		Header: func(h http.Header) { h.Set("Ratelimit-Remaining", "76;w=3600") },
	}.Hook()})
}
