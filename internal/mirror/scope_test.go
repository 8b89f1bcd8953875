package mirror_test

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// of returns the same request in another repository.
func of(name string, r oci.Request) oci.Request {
	r.Repository, r.Name = name, name
	return r
}

// pullImage pulls an image, by tag, as a client does that has nothing yet.
func (f *fixture) pullImage(name string, image registrytest.Image) {
	f.t.Helper()
	p := image.Platforms[0]
	for _, ref := range []string{"3", p.Manifest.Digest.String()} {
		if _, _, err := f.mirror.Manifest(f.t.Context(), of(name, manifestRequest(ref))); err != nil {
			f.t.Fatal(err)
		}
	}
	var pulls sync.WaitGroup
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		pulls.Go(func() {
			raw, _, err := f.pull(f.t.Context(), of(name, blobRequest(d.Digest)))
			if err != nil || digest.FromBytes(raw) != d.Digest {
				f.t.Errorf("%s@%s: %d wrong bytes, %v", name, d.Digest, len(raw), err)
			}
		})
	}
	pulls.Wait()
}

// What many repositories share is asked for once in each, and never again.
func TestSharedImageIsProvenOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000, 2000, 3*mib)
	f.upstream.CopyRepository(repository, "library/copy")
	f.pullImage(repository, image)
	for range 4 {
		f.filled()
	}
	f.saw(1, 6) // the tag; two manifests, the configuration and three layers
	f.pullImage("library/copy", image)
	f.saw(6, 0)
	f.pullImage("library/copy", image)
	f.pullImage(repository, image)
	f.saw(0, 0)
	f.policy.Offline = true
	f.configure()
	f.pullImage("library/copy", image)
	f.saw(0, 0)
}

// namedBy puts a manifest into a repository, and pulls it there, that names
// content which the repository has not got.
func (f *fixture) namedBy(name string, d digest.Digest, size int) {
	f.t.Helper()
	p := f.upstream.PutImage("some/image", "x", uint64(size)+99, 10).Platforms[0]
	raw := bytes.Replace(p.ManifestBytes, []byte(p.Layers[0].Digest), []byte(d), 1)
	raw = bytes.Replace(raw, []byte(`"size":10`), []byte(`"size":`+strconv.Itoa(size)), 1)
	m := f.upstream.PutManifest(name, "", p.Manifest.MediaType, raw)
	if _, _, err := f.mirror.Manifest(f.t.Context(), of(name, manifestRequest(m.String()))); err != nil {
		f.t.Fatal(err)
	}
}

// To name a digest in a manifest is no key to what others have brought in.
func TestManifestProvesNothing(t *testing.T) {
	t.Parallel()
	const thief = "team/thief"
	f := newFixture(t)
	want := registrytest.Random(1, 2*mib)
	d := f.upstream.PutBlob(repository, want)
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.filled()
	f.namedBy(thief, d, len(want))
	f.upstream.Reset()
	r := of(thief, blobRequest(d))
	for range 3 {
		_, _, err := f.mirror.Blob(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
		_, _, err = f.mirror.StatBlob(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
	}
	f.saw(1, 0)
	f.clock.advance(ttl)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	_, _, err := f.mirror.Blob(t.Context(), r)
	wantStatus(t, err, http.StatusBadGateway)
	f.saw(1, 0)
	f.policy.Offline = true
	f.configure()
	_, _, err = f.mirror.Blob(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
	_, _, err = f.mirror.StatBlob(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
	f.policy.Offline = false
	f.configure()
	f.upstream.Hook(nil)
	f.clock.advance(ttl)
	f.saw(0, 0)
	f.upstream.PutBlob(thief, want)
	f.mustPull(r, want, oci.ResultMiss)
	f.saw(1, 0)
	f.mustPull(r, want, oci.ResultHit)
	f.saw(0, 0)
}

// The same for what is on its way.
func TestManifestProvesNothingOfAFill(t *testing.T) {
	t.Parallel()
	const thief = "team/thief"
	f := newFixture(t)
	want := registrytest.Random(1, 8*mib)
	d := f.upstream.PutBlob(repository, want)
	f.namedBy(thief, d, len(want))
	r := of(thief, blobRequest(d))
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	f.upstream.Reset()
	_, _, err = f.mirror.Blob(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
	_, _, err = f.mirror.StatBlob(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
	f.saw(1, 0)
	_ = b.Content.Close()
	close(open)
	f.filled()
}

// A part that is whole needs no GET any more, but of who may have it.
func TestWholePartProvesNothing(t *testing.T) {
	t.Parallel()
	const thief = "team/thief"
	for _, size := range []int{1000, 2 * mib} {
		f := newFixture(t)
		want := registrytest.Random(1, size)
		d := digest.FromBytes(want)
		f.suspend(d, want, len(want))
		f.namedBy(thief, d, size)
		f.upstream.Reset()
		_, _, err := f.mirror.Blob(t.Context(), of(thief, blobRequest(d)))
		wantStatus(t, err, http.StatusNotFound)
		f.saw(0, 1)
	}
}

func TestIndexProvesNothing(t *testing.T) {
	t.Parallel()
	const thief = "team/thief"
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	f.pullImage(repository, image)
	index := f.upstream.PutManifest(thief, "", image.Index.MediaType, image.IndexBytes)
	if _, _, err := f.mirror.Manifest(t.Context(), of(thief, manifestRequest(index.String()))); err != nil {
		t.Fatal(err)
	}
	f.upstream.Reset()
	r := of(thief, manifestRequest(image.Platforms[0].Manifest.Digest.String()))
	for range 3 {
		_, _, err := f.mirror.Manifest(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
		_, _, err = f.mirror.StatManifest(t.Context(), r)
		wantStatus(t, err, http.StatusNotFound)
	}
	f.saw(1, 0)
	f.clock.advance(ttl)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	_, _, err := f.mirror.Manifest(t.Context(), r)
	wantStatus(t, err, http.StatusBadGateway)
	f.policy.Offline = true
	f.configure()
	_, _, err = f.mirror.Manifest(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
}
