package mirror_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// The policy is the same on any store that keeps what it is given: on the real one, and
// on one in memory.
func TestAnyStore(t *testing.T) {
	t.Parallel()
	for store, inMemory := range map[string]bool{"real": false, "memory": true} {
		for name, test := range map[string]func(*testing.T, *fixture){
			"tags move and go stale":                   storesTags,
			"deleted tags are forgotten":               storesDeletedTags,
			"manifests and blobs cost nothing more":    storesContent,
			"a suspended fill goes on":                 storesParts,
			"another repository is asked":              storesLinks,
			"another upstream shows what it possesses": storesOrigins,
			"an isolated upstream shares nothing":      storesIsolation,
			"a refused proof ends":                     storesProofs,
			"a wrong size is corrected":                storesSizes,
			"referrers are kept":                       storesReferrers,
			"damaged bytes are not kept":               storesNothingWrong,
		} {
			t.Run(store+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(t, newFixtureOn(t, inMemory))
			})
		}
	}
}

func storesTags(t *testing.T, f *fixture) {
	old := f.upstream.PutImage(repository, "3", 1, 10)
	f.wantManifest("3", old.IndexBytes)
	f.wantManifest("3", old.IndexBytes)
	f.saw(1, 1)
	f.clock.advance(ttl)
	f.wantManifest("3", old.IndexBytes)
	f.saw(1, 0)
	moved := f.upstream.PutImage(repository, "3", 2, 10)
	f.wantManifest("3", old.IndexBytes)
	f.clock.advance(ttl)
	f.wantManifest("3", moved.IndexBytes)
	f.saw(1, 1)
	f.reopen()
	f.clock.advance(ttl)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	f.wantStale(moved)
	f.policy.Offline = true
	f.configure()
	f.wantManifest("3", moved.IndexBytes)
	list, _, err := f.mirror.Tags(t.Context(), manifestRequest("3"), oci.TagsPage{N: 10})
	if err != nil || len(list.Tags) != 1 || list.Tags[0] != "3" {
		t.Errorf("the tags are %v, %v", list, err)
	}
}

func storesDeletedTags(t *testing.T, f *fixture) {
	f.connect(upstream.Options{})
	pinned := f.upstream.PutImage(repository, "pinned", 1, 10)
	for _, name := range []string{"3", "pinned"} {
		f.upstream.PutTag(repository, name, pinned.Index.Digest)
		f.wantManifest(name, pinned.IndexBytes)
	}
	if f.memory != nil {
		f.memory.pinned["pinned"] = true
	} else if pin, err := oci.ParsePin(upstreamName + "/" + repository + ":pinned"); err != nil {
		t.Fatal(err)
	} else if _, err := f.store.Pin(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	f.upstream.DeleteTag(repository, "3")
	f.upstream.DeleteTag(repository, "pinned")
	f.clock.advance(ttl)
	for range 4 {
		f.wantGone()
		if _, status, err := f.mirror.Manifest(t.Context(), manifestRequest("pinned")); err != nil || status.Result != oci.ResultStale {
			t.Errorf("pinned: %v, %v", status, err)
		}
		f.clock.advance(11 * time.Second)
	}
	f.upstream.Refuse()
	_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
	wantStatus(t, err, http.StatusBadGateway)
}

func storesContent(t *testing.T, f *fixture) {
	image := f.upstream.PutImage(repository, "3", 1, 1000, 2000, 3*mib)
	f.pullImage(repository, image)
	for range 4 {
		if e := f.filled(); !e.Stored {
			t.Errorf("not stored: %+v", e)
		}
	}
	f.saw(1, 6) // the tag; two manifests, the configuration and three layers
	f.reopen()
	f.pullImage(repository, image)
	r := blobRequest(image.Platforms[0].Layers[0].Digest)
	if d, status, err := f.mirror.StatBlob(t.Context(), r); err != nil || d.Size != 1000 || status.Result != oci.ResultHit {
		t.Errorf("%+v, %v, %v", d, status, err)
	}
	if d, _, err := f.mirror.Pull(t.Context(), r, nil); err != nil || d.Size != 1000 {
		t.Errorf("%+v, %v", d, err)
	}
	f.saw(0, 0)
}

func storesParts(t *testing.T, f *fixture) {
	const size, sent = 16 * mib, 9 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached := make(chan struct{})
	f.upstream.Hook(gated(sent, func() { close(reached) }, nil))
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := io.CopyN(io.Discard, b.Content, sent); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	_ = b.Content.Close()
	f.filled()
	f.upstream.Hook(nil)
	f.upstream.Reset()
	f.mustPull(r, want, oci.ResultMiss)
	f.filled()
	if n := f.upstream.BlobBytes(); n > size-sent {
		t.Errorf("%d bytes were asked for again", n-(size-sent))
	}
	f.mustPull(r, want, oci.ResultHit)
}

func storesLinks(_ *testing.T, f *fixture) {
	image := f.upstream.PutImage(repository, "3", 1, 1000, 3*mib)
	f.upstream.CopyRepository(repository, "library/copy")
	f.pullImage(repository, image)
	for range 3 {
		f.filled()
	}
	f.saw(1, 5)
	f.pullImage("library/copy", image)
	f.saw(6-1, 0) // the tag, one manifest and three blobs
	f.reopen()
	f.pullImage("library/copy", image)
	f.saw(0, 0)
}

func storesOrigins(t *testing.T, f *fixture) {
	server := f.beside()
	raw := registrytest.Random(1, 3*mib)
	r := blobRequest(f.upstream.PutBlob(repository, raw))
	f.mustPull(r, raw, oci.ResultMiss)
	f.filled()
	wantStatus(t, func() error { _, _, err := f.pull(t.Context(), beside(r)); return err }(), http.StatusNotFound)
	f.clock.advance(time.Minute)
	server.PutBlob(repository, raw)
	server.Reset()
	f.mustPull(beside(r), raw, oci.ResultMiss)
	if n := server.BlobBytes(); n == 0 || n > 1*mib {
		t.Errorf("samples of %d bytes", n)
	}
	server.Reset()
	f.mustPull(beside(r), raw, oci.ResultHit)
	if n := len(server.Requests()); n != 0 {
		t.Errorf("%d requests for what is proven", n)
	}
}

func storesIsolation(t *testing.T, f *fixture) {
	f.policy.Isolate = true
	server := f.beside()
	raw := registrytest.Random(1, 3*mib)
	r := blobRequest(f.upstream.PutBlob(repository, raw))
	server.PutBlob(repository, raw)
	f.mustPull(r, raw, oci.ResultMiss)
	f.filled()
	f.mustPull(beside(r), raw, oci.ResultMiss)
	f.filled()
	if n := server.BlobBytes(); n != int64(len(raw)) {
		t.Errorf("%d bytes of %d", n, len(raw))
	}
}

func storesProofs(t *testing.T, f *fixture) {
	f.policy.ProofTTL = time.Hour
	f.configure()
	raw := registrytest.Random(1, 1000)
	r := blobRequest(f.upstream.PutBlob(repository, raw))
	f.mustPull(r, raw, oci.ResultMiss)
	f.filled()
	f.clock.advance(time.Hour)
	f.mustPull(r, raw, oci.ResultHit)
	f.mustPull(r, raw, oci.ResultHit)
	f.saw(1, 1)
	f.clock.advance(time.Hour)
	f.upstream.Hook(answer(http.StatusForbidden))
	_, _, err := f.mirror.StatBlob(t.Context(), r)
	wantStatus(t, err, http.StatusForbidden)
	f.policy.Offline = true
	f.configure()
	_, _, err = f.mirror.Blob(t.Context(), r)
	wantStatus(t, err, http.StatusNotFound)
}

// The manifest tells another size of a blob that is here than that has.
func storesSizes(t *testing.T, f *fixture) {
	raw := registrytest.Random(1, 1000)
	d := f.upstream.PutBlob(repository, raw)
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
	f.filled()
	records := f.records()
	if err := records.Link(t.Context(), own, oci.Descriptor{Digest: d, Size: 999}); err != nil {
		t.Fatal(err)
	}
	f.mustPull(blobRequest(d), raw, oci.ResultHit)
	if l, err := records.Linked(t.Context(), own, d); err != nil || l.Size != 1000 || !l.Proven {
		t.Errorf("link %+v, %v", l, err)
	}
}

func storesReferrers(t *testing.T, f *fixture) {
	d := f.upstream.PutImage(repository, "3", 1, 10).Index.Digest
	signature := f.sign(d)
	want := func(result oci.Result) {
		t.Helper()
		ds, status, err := f.mirror.Referrers(t.Context(), manifestRequest(d.String()))
		if err != nil || len(ds) != 1 || ds[0].Digest != signature || status.Result != result {
			t.Errorf("%v, %v, %v", ds, status, err)
		}
	}
	want(oci.ResultMiss)
	f.reopen()
	want(oci.ResultHit)
	f.saw(0, 1)
	f.clock.advance(ttl)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	want(oci.ResultStale)
}

func storesNothingWrong(t *testing.T, f *fixture) {
	raw := registrytest.Random(1, 1000)
	d := oci.Sum(raw)
	f.upstream.PutBlobAs(repository, d, registrytest.Random(2, 1000))
	if _, _, err := f.pull(t.Context(), blobRequest(d)); err == nil {
		t.Error("wrong bytes end cleanly")
	}
	if e := f.filled(); e.Stored {
		t.Error("wrong bytes are stored")
	}
	f.upstream.PutBlobAs(repository, d, raw)
	f.clock.advance(time.Minute)
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
}
